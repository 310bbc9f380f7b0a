//! What serde cannot know of a story: names that do not exist, values that contradict each other.
//!
//! The whole file is looked at before anything runs; the first thing that is wrong is told, with
//! its place and what to type.

use meshproof_fault::spec::Subject;
use meshproof_input::{Millis, Problem, Span, Spanned, suggestion};

use super::harm::{self, Doer};
use super::model::{
    CALLS_MAX, Call, CallStyle, Fault, NESTING_MAX, Program, RegistryOrder, STEPS_MAX, Scenario,
    Set, Side, Step, VipOrder,
};
use super::needs::CAPABILITIES;
use super::plan;
use super::probe::Probe;
use crate::mesh::MeshSpec;

/// The longest time that anything in a story may be given.
const TIME_MAX: Millis = Millis(3_600_000);

/// Outcomes of calls that a story may name.
const OUTCOMES: [&str; 8] = [
    "ok",
    "exception",
    "sent",
    "timeout",
    "closed",
    "unsent",
    "wrong",
    "error",
];

/// Methods of the sample service.
const METHODS: [&str; 4] = ["hello", "place", "notifyOneway", "boom"];

/// Log levels.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The interface that every app of a topology provides.
pub(crate) const INTERFACE: &str = "com.alipay.demo.SampleService";

/// What a story is checked against.
#[derive(Clone, Debug, Default)]
pub struct Known<'a> {
    /// Seeded bugs by name; none: they are not checked.
    pub bugs: &'a [&'a str],
    /// Names of adapters.
    pub suts: &'a [&'a str],
    /// Names of sites.
    pub sites: &'a [&'a str],
}

/// What is wrong with a story on this mesh.
pub fn check(
    name: &str,
    text: &str,
    story: &Scenario,
    mesh: &MeshSpec,
    known: &Known<'_>,
) -> Result<(), Problem> {
    let pods = mesh.pods.iter().map(|(name, _)| name.as_str()).collect();
    let mut checker = Checker {
        name,
        text,
        mesh,
        known,
        pods,
        faults: Vec::new(),
        healed: Vec::new(),
        calls: Vec::new(),
        budget: story.budget.value,
    };
    checker.head(story)?;
    checker.steps(&story.steps, 0)
}

/// The full name of the service that is meant: `SampleService`, `SampleService:1.0`, the full
/// name, or none for the first that the topology provides.
pub(crate) fn service(mesh: &MeshSpec, asked: Option<&str>) -> Option<String> {
    let services = services(mesh);
    let Some(asked) = asked else {
        return services.into_iter().next();
    };
    services.into_iter().find(|full| {
        let (path, version) = full.split_once(':').unwrap_or((full, ""));
        let simple = path.rsplit('.').next().unwrap_or(path);
        let (name, wanted) = asked.split_once(':').unwrap_or((asked, version));
        (name == path || name == simple) && wanted == version
    })
}

/// Every service that a topology provides, in the order of its pods.
pub(crate) fn services(mesh: &MeshSpec) -> Vec<String> {
    let mut all = Vec::new();
    for (_, pod) in &mesh.pods {
        for version in pod.app.iter().flat_map(|app| &app.versions) {
            let service = format!("{INTERFACE}:{version}");
            if !all.contains(&service) {
                all.push(service);
            }
        }
    }
    if all.is_empty() {
        all.push(format!("{INTERFACE}:1.0"));
    }
    all
}

/// Ports of the legs on which a relay can stand.
const LEGS: [u16; 3] = [12199, 12220, 12200];

const LEGS_HELP: &str = "write 12199 (from the sidecar to the app), 12220 (from the app to the sidecar) or 12200 \
     (from whoever calls the pod)";

struct Checker<'a> {
    name: &'a str,
    text: &'a str,
    mesh: &'a MeshSpec,
    known: &'a Known<'a>,
    pods: Vec<&'a str>,
    /// Faults in force.
    faults: Vec<String>,
    healed: Vec<String>,
    calls: Vec<String>,
    budget: Millis,
}

type Checked = Result<(), Problem>;

impl Checker<'_> {
    fn wrong(
        &self,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Problem {
        Problem::at(self.name, self.text, span, code, message, help)
    }

    /// A word that must be one of some.
    fn word(
        &self,
        what: &str,
        code: &'static str,
        word: &Spanned<String>,
        known: &[&str],
    ) -> Checked {
        if known.contains(&word.as_str()) {
            return Ok(());
        }
        let help = match suggestion(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("there is no {what} here"),
            None => format!("there are {}", known.join(", ")),
        };
        Err(self
            .wrong(word.span, code, format!("unknown {what} `{word}`"), help)
            .label(word.span, "not known here"))
    }

    fn pod(&self, pod: &Spanned<String>) -> Checked {
        self.word("pod", "scenario::unknown_pod", pod, &self.pods)
    }

    /// A pod that programs of ours run in, config center and names included.
    fn any_pod(&self, pod: &Spanned<String>) -> Checked {
        let mut pods = self.pods.clone();
        pods.extend(["registry", "vip"]);
        self.word("pod", "scenario::unknown_pod", pod, &pods)
    }

    fn service(&self, asked: &Spanned<String>) -> Checked {
        if service(self.mesh, Some(asked)).is_some() {
            return Ok(());
        }
        let services = services(self.mesh);
        let known: Vec<&str> = services.iter().map(String::as_str).collect();
        self.word("service", "scenario::unknown_service", asked, &known)
    }

    /// A time that is more than none and no more than the story has.
    fn time(&self, time: Spanned<Millis>) -> Checked {
        let of = |message, help| Err(self.wrong(time.span, "scenario::time", message, help));
        if time.value == Millis(0) {
            return of(
                "no time at all".to_owned(),
                "write one such as 300ms or 5s".to_owned(),
            );
        }
        if time.value > self.budget {
            let budget = self.budget;
            return of(
                format!(
                    "{} is more than the whole story may take, {budget}",
                    time.value
                ),
                format!("write less, or add `budget: {}` to the story", time.value),
            );
        }
        Ok(())
    }

    fn head(&self, story: &Scenario) -> Checked {
        let name = &story.scenario;
        let good = (1..=64).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !good {
            return Err(self.wrong(
                name.span,
                "scenario::name",
                format!("`{name}` cannot name a story"),
                "write 1 to 64 small letters, digits and hyphens",
            ));
        }
        let capabilities: Vec<&str> = CAPABILITIES.iter().map(|(name, ..)| *name).collect();
        for need in &story.needs {
            self.word(
                "capability",
                "scenario::unknown_capability",
                need,
                &capabilities,
            )?;
        }
        if let Some(site) = &story.site {
            self.word("site", "scenario::unknown_site", site, self.known.sites)?;
        }
        if !self.known.bugs.is_empty() {
            for bug in &story.catches {
                self.word("bug", "scenario::unknown_bug", bug, self.known.bugs)?;
            }
        }
        for (bug, by) in &story.caught_by {
            let caught: Vec<&str> = story.catches.iter().map(|bug| bug.as_str()).collect();
            self.word("bug of `catches`", "scenario::uncaught", bug, &caught)?;
            if let Some(says) = by.value.says.as_ref().filter(|it| it.trim().is_empty()) {
                return Err(self.wrong(
                    says.span,
                    "scenario::uncaught",
                    "an empty text is in every sentence",
                    "write what the claim must say, such as `functional`, or leave `says` out",
                ));
            }
        }
        if story.budget.value == Millis(0) || story.budget.value > TIME_MAX {
            return Err(self.wrong(
                story.budget.span,
                "scenario::time",
                format!("a story cannot take {}", story.budget.value),
                "write a time of up to 1h",
            ));
        }
        if story.steps.is_empty() {
            return Err(self.wrong(
                name.span,
                "scenario::nothing",
                "a story without steps shows nothing",
                "add steps, such as `- call: {from: client, count: 10}`",
            ));
        }
        let steps = plan::count(&story.steps);
        if steps as usize > STEPS_MAX {
            return Err(self.wrong(
                name.span,
                "scenario::too_long",
                format!("{steps} steps are more than the {STEPS_MAX} that a story may have"),
                "make two of it",
            ));
        }
        Ok(())
    }

    fn steps(&mut self, steps: &[Spanned<Step>], depth: usize) -> Checked {
        for step in steps {
            if depth > NESTING_MAX {
                return Err(self.wrong(
                    step.span,
                    "scenario::too_deep",
                    format!("steps stand in each other deeper than {NESTING_MAX} times"),
                    "write them one after the other",
                ));
            }
            self.step(step, depth)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Spanned<Step>, depth: usize) -> Checked {
        match &step.value {
            Step::Call(call) => self.call(call),
            Step::Subscribe(ask) => {
                self.meshed(&ask.from)?;
                if ask.vip_only && ask.vip.is_none() {
                    return Err(self.wrong(
                        step.span,
                        "scenario::subscribe",
                        "`vip_only` asks for a VIP and none is named",
                        "add `vip: APP-pool.ZONE.alipay.net:12200`",
                    ));
                }
                ask.service.iter().try_for_each(|it| self.service(it))
            }
            Step::Send(send) => {
                self.any_pod(&send.from)?;
                self.any_pod(&send.to)?;
                self.time(send.within)?;
                if meshproof_fault::spec::hex::bytes(&send.hex).is_none() {
                    return Err(self.wrong(
                        send.hex.span,
                        "scenario::hex",
                        "not two hexadecimal digits for each byte",
                        "write bytes such as `da bb 00 0d`, at least one, 64 KiB at most",
                    ));
                }
                Ok(())
            }
            Step::Replay(replay) => self.pod(&replay.from),
            Step::Fault(fault) => self.fault(fault),
            Step::Heal(id) => self.heal(id),
            Step::Eventually(wait) => {
                self.time(wait.within)?;
                self.probes(step, &[&wait.all, &wait.any])
            }
            Step::Always(hold) => {
                self.time(hold.during)?;
                self.probes(step, &[&hold.all])
            }
            Step::Never(hold) => {
                self.time(hold.during)?;
                self.probes(step, &[&hold.any, &hold.all])
            }
            Step::Within(within) => {
                self.time(within.limit)?;
                self.some(step, within.steps.len(), "steps")?;
                self.steps(&within.steps, depth + 1)
            }
            Step::Parallel(branches) => {
                if branches.len() < 2 {
                    return Err(self.wrong(
                        step.span,
                        "scenario::parallel",
                        "fewer than two branches are not parallel",
                        "add a branch, or write its steps without `parallel`",
                    ));
                }
                for (_, steps) in branches {
                    self.steps(steps, depth + 1)?;
                }
                Ok(())
            }
            Step::When(when) => self.when(step, when, depth),
            Step::Upgrade(upgrade) => {
                self.meshed(&upgrade.pod)?;
                upgrade.to.iter().try_for_each(|sut| self.sut(sut))
            }
            Step::Meshify(meshify) => {
                self.pod(&meshify.pod)?;
                meshify.sidecar.iter().try_for_each(|sut| self.sut(sut))
            }
            Step::Demesh(pod) => self.pod(pod),
            Step::Set(set) => self.set(step, set),
            Step::Restart(restart) => self.program(&restart.pod, restart.program),
            Step::Registry(order) => self.registry(step, order),
            Step::Vip(order) => self.vip(step, order),
            Step::Record(record) => self.any_pod(&record.pod),
        }
    }

    fn some(&self, step: &Spanned<Step>, count: usize, what: &str) -> Checked {
        match count {
            0 => Err(self.wrong(
                step.span,
                "scenario::nothing",
                format!("`{}` without {what} does nothing", step.word()),
                format!("add {what}"),
            )),
            _ => Ok(()),
        }
    }

    fn sut(&self, sut: &Spanned<String>) -> Checked {
        self.word("sidecar", "scenario::unknown_sidecar", sut, self.known.suts)
    }

    /// A pod that has a sidecar, or gets one in the course of the story.
    fn meshed(&self, pod: &Spanned<String>) -> Checked {
        self.program(pod, Program::Sidecar)
    }

    fn program(&self, pod: &Spanned<String>, program: Program) -> Checked {
        self.pod(pod)?;
        let found = self
            .mesh
            .pods
            .iter()
            .find(|(name, _)| name.value == pod.value);
        let Some((_, spec)) = found else {
            return Ok(());
        };
        let there = match program {
            Program::App => spec.app.is_some(),
            // Whether it moves in before is told by running.
            Program::Sidecar => spec.sidecar.is_some() || self.moves_in(pod),
        };
        if there {
            return Ok(());
        }
        let program = program.word();
        Err(self.wrong(
            pod.span,
            "scenario::no_program",
            format!("pod `{pod}` has no {program}"),
            format!(
                "give it one in topology `{}`, or name another pod",
                self.mesh.topology
            ),
        ))
    }

    /// Whether the text has a step that meshifies this pod.
    fn moves_in(&self, pod: &str) -> bool {
        self.text.lines().any(|line| {
            let at = line.find("meshify:");
            at.is_some_and(|at| line[at..].contains(pod))
        })
    }

    fn call(&mut self, call: &Call) -> Checked {
        self.pod(&call.from)?;
        call.service.iter().try_for_each(|it| self.service(it))?;
        for time in [call.timeout, call.leeway].into_iter().flatten() {
            self.time(time)?;
        }
        for (what, number, max) in [
            ("calls", Some(call.count), CALLS_MAX),
            ("connections", call.connections, 1000),
            ("calls at a time", call.depth, 10_000),
            ("calls a second", call.rate, 100_000),
        ] {
            let Some(number) = number else { continue };
            if !(1..=max).contains(&number.value) {
                return Err(self.wrong(
                    number.span,
                    "scenario::number",
                    format!("{} {what}: expected 1 to {max}", number.value),
                    "",
                ));
            }
        }
        if let (Some(rate), Some(_)) = (call.rate, &call.depth) {
            return Err(self.wrong(
                rate.span,
                "scenario::call",
                "`rate` and `depth` cannot both say when calls are sent",
                "keep one of the two",
            ));
        }
        for outcome in call.or.iter().chain(&call.expect) {
            let status = outcome.strip_prefix("status ");
            if status.is_some_and(|code| code.parse::<u16>().is_ok()) {
                continue;
            }
            self.word("outcome", "scenario::unknown_outcome", outcome, &OUTCOMES)?;
        }
        if let Some(expect) = &call.expect
            && call.style == CallStyle::Oneway
            && expect.as_str() != "sent"
        {
            return Err(self.wrong(
                expect.span,
                "scenario::call",
                "nobody knows what becomes of a one-way call",
                "look at what an app saw instead: `seen: {pod: …}`",
            ));
        }
        for pod in &call.seen_by {
            self.program(pod, Program::App)?;
        }
        if let Some(id) = &call.id {
            self.calls.push(id.value.clone());
        }
        Ok(())
    }

    fn fault(&mut self, fault: &Fault) -> Checked {
        let kind = fault.kind;
        let needs = |key: &str| {
            self.wrong(
                kind.span,
                "scenario::fault",
                format!("a fault of a story needs `{key}`"),
                "write `id`, which is what `heal` calls it, and `pod`, which is where it is",
            )
        };
        let id = fault.id.as_ref().ok_or_else(|| needs("id"))?;
        if self.faults.contains(&id.value) {
            return Err(self.wrong(
                id.span,
                "scenario::fault_again",
                format!("fault `{id}` is still in force"),
                "heal it before, or give this one another id",
            ));
        }
        fault.check(self.name, self.text)?;
        let doer = harm::doer(fault);
        let Some(pod) = &fault.pod else {
            if fault.of.is_none() {
                return Err(needs("pod"));
            }
            self.outside(fault)?;
            self.way(fault, doer)?;
            self.faults.push(id.value.clone());
            return Ok(());
        };
        if let Some(of) = fault.of {
            return Err(self.wrong(
                pod.span,
                "scenario::fault",
                format!("a fault of {} is in no pod of the story", of.value.told()),
                "leave `pod` out",
            ));
        }
        match doer {
            // A config center may be cut off as well as an app.
            Doer::Keeper if fault.subject() != Subject::Program => self.any_pod(pod)?,
            Doer::Relay => {
                self.pod(pod)?;
                self.leg(fault)?;
            }
            _ => self.program(pod, fault.program)?,
        }
        self.direction(fault)?;
        self.way(fault, doer)?;
        fault.by.map_or(Ok(()), |by| self.time(by))?;
        fault.during.map_or(Ok(()), |during| self.time(during))?;
        for method in &fault.methods {
            self.word("method", "scenario::unknown_method", method, &METHODS)?;
        }
        self.faults.push(id.value.clone());
        Ok(())
    }

    /// A fault of the config center or of VIP names.
    fn outside(&self, fault: &Fault) -> Checked {
        for address in &fault.addresses {
            let literal = address.parse::<std::net::IpAddr>().is_ok()
                || address.parse::<std::net::SocketAddr>().is_ok();
            if !literal {
                self.pod(address)?;
            }
        }
        fault.service.iter().try_for_each(|it| self.service(it))?;
        let times = [fault.by, fault.at, fault.during];
        times.into_iter().flatten().try_for_each(|it| self.time(it))
    }

    /// A leg on which a relay can stand, and harm that it can do.
    fn leg(&self, fault: &Fault) -> Checked {
        let (span, found) = match fault.port {
            Some(port) if LEGS.contains(&port.value) => {
                return match harm::beyond_relays(fault) {
                    None => Ok(()),
                    Some((span, word)) => Err(self.wrong(
                        span,
                        "scenario::fault",
                        format!("no relay of an environment can do `{word}`"),
                        "a relay stands in front of who listens in the pod: leave it out",
                    )),
                };
            }
            Some(port) => (port.span, format!("a leg to port {port}")),
            None => (fault.kind.span, "a leg without `port`".to_owned()),
        };
        let message = format!("no relay can stand on {found}");
        Err(self.wrong(span, "scenario::fault", message, LEGS_HELP))
    }

    /// A sidecar stands at either end of a leg to 12200.
    fn direction(&self, fault: &Fault) -> Checked {
        let either = |side: &Option<Spanned<Side>>| {
            side.filter(|side| matches!(side.value, Side::App | Side::Sidecar))
        };
        let Some(side) = either(&fault.from).or(either(&fault.to)) else {
            return Ok(());
        };
        match fault.port {
            Some(port) if port.value == 12200 => Err(self.wrong(
                side.span,
                "scenario::fault",
                format!("`{side}` does not say which end of a leg to port 12200"),
                "write `client` for who calls the pod, `server` for who serves in it",
            )),
            _ => Ok(()),
        }
    }

    /// The way and the time, of those that whoever does it knows.
    fn way(&self, fault: &Fault, doer: Doer) -> Checked {
        let kind = fault.kind;
        let ways = doer.ways();
        if let Some(way) = fault.way.filter(|way| !ways.contains(&way.value)) {
            let ways: Vec<&str> = ways.iter().map(|way| way.word()).collect();
            return Err(self.wrong(
                way.span,
                "scenario::fault",
                format!("`{kind}` of {} is not done by {way}", fault.subject()),
                format!("write one of {}, or leave `way` out", ways.join(", ")),
            ));
        }
        let repeat = fault.repeat.as_ref().map(|repeat| repeat.times.span);
        let timed = [
            (fault.during.map(|it| it.span), "for"),
            (fault.at.map(|it| it.span), "at"),
            (repeat, "repeat"),
        ];
        let timed = timed.into_iter().find_map(|(span, key)| Some((span?, key)));
        match (timed, doer) {
            (Some((span, key)), Doer::Relay | Doer::Mesh | Doer::App) => Err(self.wrong(
                span,
                "scenario::fault",
                "only faults that a keeper holds begin and end by themselves",
                format!("leave `{key}` out, and put it in force and heal it in steps"),
            )),
            _ => Ok(()),
        }
    }

    fn heal(&mut self, id: &Spanned<String>) -> Checked {
        if let Some(at) = self.faults.iter().position(|known| *known == id.value) {
            self.healed.push(self.faults.remove(at));
            return Ok(());
        }
        if self.healed.contains(&id.value) {
            return Err(self.wrong(
                id.span,
                "scenario::unknown_fault",
                format!("fault `{id}` is healed already"),
                "take this step away",
            ));
        }
        let known: Vec<&str> = self.faults.iter().map(String::as_str).collect();
        self.word("fault", "scenario::unknown_fault", id, &known)
    }

    fn set(&self, step: &Spanned<Step>, set: &Set) -> Checked {
        self.meshed(&set.pod)?;
        let changes = usize::from(set.log_level.is_some()) + set.config.len();
        self.some(step, changes, "`log_level` or `config`")?;
        match &set.log_level {
            Some(level) => self.word(
                "log level",
                "scenario::unknown_level",
                &level.level,
                &LEVELS,
            ),
            None => Ok(()),
        }
    }

    fn registry(&self, step: &Spanned<Step>, order: &RegistryOrder) -> Checked {
        let services = order.empty.iter().flatten();
        for service in services.chain(&order.push_empty).chain(&order.push_again) {
            self.service(service)?;
        }
        if let Some(order) = &order.order {
            self.order(order)?;
        }
        let changes = [
            order.order.is_some(),
            order.delay_answer.is_some(),
            order.delay_push.is_some(),
            order.stale.is_some(),
            order.empty.is_some(),
            !order.push_empty.is_empty(),
            !order.push_again.is_empty(),
            order.push_times.is_some(),
            order.lose_pushes.is_some(),
            order.availability.is_some(),
            order.restart.is_some(),
            order.drop_watchers,
        ];
        let changes = changes.into_iter().filter(|change| *change).count();
        self.some(
            step,
            changes,
            "an order such as `push_empty: [SampleService]`",
        )
    }

    fn order(&self, order: &Spanned<String>) -> Checked {
        let wrong = || {
            self.wrong(
                order.span,
                "scenario::order",
                format!("`{order}` is no order"),
                "write as-is, reversed, shuffled:SEED or fixed:POD,POD",
            )
        };
        match order.split_once(':') {
            None if ["as-is", "reversed"].contains(&order.as_str()) => Ok(()),
            Some(("shuffled", seed)) if seed.parse::<u64>().is_ok() => Ok(()),
            Some(("fixed", pods)) => pods.split(',').try_for_each(|pod| {
                self.pod(&Spanned {
                    value: pod.trim().to_owned(),
                    span: order.span,
                })
            }),
            _ => Err(wrong()),
        }
    }

    fn vip(&self, step: &Spanned<Step>, order: &VipOrder) -> Checked {
        for (_, pods) in &order.pools {
            pods.iter().try_for_each(|pod| self.any_pod(pod))?;
        }
        let changes =
            order.pools.len() + order.remove.len() + order.faults.len() + order.heal.len();
        self.some(step, changes, "an order such as `pools`")
    }

    fn probes(&self, step: &Spanned<Step>, lists: &[&Vec<Spanned<Probe>>]) -> Checked {
        let count = lists.iter().map(|list| list.len()).sum();
        self.some(step, count, "a probe such as `port: {…}`")?;
        let mut all = lists.iter().copied().flatten();
        all.try_for_each(|probe| self.probe(probe))
    }

    fn probe(&self, probe: &Spanned<Probe>) -> Checked {
        match &probe.value {
            Probe::Port(port) => {
                self.any_pod(&port.pod)?;
                port.from.iter().try_for_each(|pod| self.any_pod(pod))
            }
            Probe::Registry(registry) => {
                registry
                    .service
                    .iter()
                    .try_for_each(|it| self.service(it))?;
                let pods = registry.with.iter().chain(&registry.without);
                pods.clone().try_for_each(|pod| self.pod(pod))?;
                if pods.count() == 0 && registry.count.is_none() {
                    return Err(self.wrong(
                        probe.span,
                        "scenario::nothing",
                        "`registry` without `with`, `without` or `count` asks nothing",
                        "add `with: POD`",
                    ));
                }
                Ok(())
            }
            Probe::Metric(metric) => self.meshed(&metric.pod),
            Probe::Log(log) => match (&log.pod, log.program) {
                (Some(pod), Some(program)) => self.program(pod, program),
                (Some(pod), None) => self.any_pod(pod),
                (None, _) => Ok(()),
            },
            Probe::Wire(wire) => {
                self.meshed(&wire.pod)?;
                match LEGS.contains(&wire.port.value) {
                    true => Ok(()),
                    false => Err(self.wrong(
                        wire.port.span,
                        "scenario::wire",
                        format!("no relay can stand on a leg to port {}", wire.port),
                        LEGS_HELP,
                    )),
                }
            }
            Probe::Ledger(ledger) => {
                let asked = [
                    ledger.calls,
                    ledger.closed,
                    ledger.lost,
                    ledger.doubled,
                    ledger.unanswered,
                ];
                match asked.iter().any(Option::is_some) {
                    true => Ok(()),
                    false => Err(self.wrong(
                        probe.span,
                        "scenario::nothing",
                        "`ledger` without a bucket asks nothing",
                        "add `lost: 0`",
                    )),
                }
            }
            Probe::Admin(admin) => self.meshed(&admin.pod),
            Probe::Process(process) => self.program(&process.pod, process.program),
            Probe::Latency(latency) => {
                let known: Vec<&str> = self.calls.iter().map(String::as_str).collect();
                self.word("call", "scenario::unknown_call", &latency.call, &known)?;
                for time in [latency.p50, latency.p99].into_iter().flatten() {
                    self.time(time)?;
                }
                match latency.p50.or(latency.p99) {
                    Some(_) => Ok(()),
                    None => Err(self.wrong(
                        probe.span,
                        "scenario::nothing",
                        "`latency` without `p50` or `p99` asks nothing",
                        "add `p99: 200ms`",
                    )),
                }
            }
            Probe::Connections(it) => {
                self.any_pod(&it.from)?;
                self.any_pod(&it.to)
            }
            Probe::Seen(seen) => self.program(&seen.pod, Program::App),
            Probe::Version(version) => self.meshed(&version.pod),
        }
    }
}

mod when;

#[cfg(test)]
mod tests;
