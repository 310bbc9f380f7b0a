//! What holds whatever the config center does.

use proptest::prelude::*;

use super::{A, Input, PLAIN, Rig, push};

#[derive(Clone, Debug)]
enum Step {
    Push {
        epoch: u64,
        revision: u64,
        list: String,
    },
    Lost,
    NoList,
    Later(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u64..3, 0_u64..6, "[1-4]?(\\|[5-9])?!?").prop_map(|(epoch, revision, list)| {
            Step::Push { epoch, revision, list }
        }),
        1 => Just(Step::Lost),
        1 => Just(Step::NoList),
        2 => (0_u64..7000).prop_map(Step::Later),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Addresses that were there go only after a list that names others or is confirmed, and
    /// every change of them is a table with a greater number (the rig asserts it).
    #[test]
    fn good_addresses_are_never_lost_to_trouble(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut rig = Rig::new(PLAIN);
        rig.subscribe("", "");
        let mut may_be_empty = true;
        for step in steps {
            match step {
                Step::Push { epoch, revision, list } => {
                    let push = push(epoch, revision, &list);
                    may_be_empty |= push.providers.is_empty() && push.confirmed;
                    rig.give(Input::Push(push));
                }
                Step::Lost => rig.give(Input::WatchLost("lost".to_owned())),
                Step::NoList => rig.give(Input::NoList { service: A.to_owned() }),
                Step::Later(ms) => rig.pass(ms),
            }
            let is_empty = rig.addresses().is_empty();
            prop_assert!(may_be_empty || !is_empty);
            may_be_empty = is_empty;
        }
        let ignored = rig.metrics.pushes_ignored.value();
        prop_assert!(ignored <= rig.metrics.pushes.value());
    }
}
