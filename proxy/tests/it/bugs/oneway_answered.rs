//! A one-way call gets an answer that nobody waits for, under an id that may be in use.

use meshproof_proxy::core::Side;
use meshproof_proxy::{Bug, Bugs};
use meshproof_wire::bolt::Version;

use crate::core::rig::{Rig, id, oneway, settings};

fn answers(bugs: Bugs) -> Vec<u32> {
    let mut rig = Rig::new(settings(), bugs);
    let client = rig.client(Side::Inbound);
    rig.send(client, &oneway(Version::V1, 7, b"note"));
    rig.connect();
    rig.frames(client).iter().map(id).collect()
}

#[test]
fn an_answer_comes_under_the_id_of_the_one_way() {
    assert_eq!(answers(Bugs::NONE), Vec::<u32>::new());
    assert_eq!(answers(Bugs::NONE.with(Bug::OnewayAnswered)), [7]);
}
