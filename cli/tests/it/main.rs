//! The program as a user meets it: arguments in, output and exit code out.

mod audit;
mod bench;
mod broken;
mod cells;
mod conformance;
mod connections;
mod demo;
mod diff;
mod docs;
mod doctor;
mod environment;
mod fault;
mod fixture;
mod flips;
mod gate;
mod journey;
mod kills;
mod leases;
mod link;
mod loopback;
mod ls;
mod matrix;
mod mesh;
mod mesh_vip;
mod nft;
mod pipeline;
mod real_mesh;
mod relay;
mod release;
mod replay;
mod report;
mod rewrite;
mod sites;
mod sockhash;
mod standing;
mod stopped;
mod terminal;
mod through;
mod tidy;
mod upgrade;
mod user;

/// The real SOFARPC server, as the tests of the fixtures start it.
#[path = "../../../fixtures/tests/it/peer.rs"]
mod peer;
mod scenario;
