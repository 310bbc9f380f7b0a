//! TR, the older RPC protocol (protocol code 13), whose request id lies within a Hessian object.
//!
//! Certain are the layout of a request and of the connection objects (bytes of real TR in the
//! tests of an early MOSN, before 2018-07-17); inferred are the body of a heartbeat, the class of
//! its answer, that a response's content is a `SofaResponse`, and result codes other than 0.
