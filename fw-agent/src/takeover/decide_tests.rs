use fw_cloud::{AttachmentId, InstanceState, Interface, Membership};
use proptest::prelude::*;

use super::*;

const FORCE_AFTER: Duration = Duration::from_secs(60);

fn instance(number: u32) -> InstanceId {
    format!("i-{number:017x}").parse().unwrap()
}

fn eni(number: u32) -> EniId {
    format!("eni-{number:017x}").parse().unwrap()
}

fn attachment_id(number: u32) -> AttachmentId {
    format!("eni-attach-{number:017x}").parse().unwrap()
}

fn wanted(count: u32) -> Vec<Wanted> {
    (1..=count).map(|number| Wanted { eni: eni(number), device_index: Some(number) }).collect()
}

fn attachment(number: u32, of: u32, state: AttachmentState) -> Attachment {
    let instance = Some(instance(of));
    Attachment { id: attachment_id(number), instance, device_index: number, state, ends_with_instance: false }
}

fn interface(attachment: Option<Attachment>) -> Interface {
    Interface {
        mac: "02:00:00:00:00:01".to_owned(),
        availability_zone: "eu-central-1a".to_owned(),
        checks_source_and_destination: false,
        attachment,
    }
}

/// Interfaces 1 and 2 as these, and instances 1 (this one, which runs) and 2.
fn view(first: Option<Attachment>, second: Option<Attachment>, other: Option<InstanceState>) -> View {
    let mut instances: std::collections::BTreeMap<_, _> = [(instance(1), InstanceState::Running)].into();
    instances.extend(other.map(|state| (instance(2), state)));
    let interfaces = [(eni(1), interface(first)), (eni(2), interface(second))].into();
    View { interfaces, instances, ..View::default() }
}

fn decided(view: &View, memory: &Memory, now: Instant) -> Decision {
    decide(&instance(1), &wanted(2), view, memory, (now, FORCE_AFTER))
}

fn steps(view: &View) -> Vec<String> {
    let decision = decided(view, &Memory::default(), Instant::now());
    decision.steps.iter().map(ToString::to_string).collect()
}

fn refusals(view: &View) -> String {
    match decided(view, &Memory::default(), Instant::now()) {
        Decision { steps, standing: Standing::Refused(why) } if steps.is_empty() => why.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_free_is_attached_the_first_one_before_the_others() {
    let free = view(None, None, None);
    assert_eq!(steps(&free), ["attach eni-00000000000000001 as device 1"]);
    let mut memory = Memory::default();
    let now = Instant::now();
    memory.note_done(Step::Attach { eni: eni(1), device_index: 1 }, now);
    let next = decided(&free, &memory, now);
    assert_eq!(
        next.steps,
        [Step::Attach { eni: eni(2), device_index: 2 }],
        "what is described may be older than the call"
    );
    let claimed = view(Some(attachment(1, 1, AttachmentState::Attaching)), None, None);
    assert_eq!(steps(&claimed), ["attach eni-00000000000000002 as device 2"]);
    let both = |state| view(Some(attachment(1, 1, state)), Some(attachment(2, 1, state)), None);
    assert!(matches!(decided(&both(AttachmentState::Attaching), &memory, now).standing, Standing::Underway(_)));
    let ours = decided(&both(AttachmentState::Attached), &memory, now);
    assert_eq!(ours, Decision { steps: vec![], standing: Standing::Ours });
}

#[test]
fn what_is_here_forwards_for_others_and_outlives_the_instance() {
    let first = Attachment { ends_with_instance: true, ..attachment(1, 1, AttachmentState::Attached) };
    let mut here = view(Some(first), Some(attachment(2, 1, AttachmentState::Attached)), None);
    here.interfaces.get_mut(&eni(2)).unwrap().checks_source_and_destination = true;
    assert_eq!(
        steps(&here),
        [
            "keep eni-00000000000000001 when the instance ends (DeleteOnTermination = false)",
            "let eni-00000000000000002 forward (SourceDestCheck = false)"
        ]
    );
}

#[test]
fn what_an_instance_has_that_may_live_is_left_and_so_is_the_rest_of_the_set() {
    let held = attachment(2, 2, AttachmentState::Attached);
    for state in [InstanceState::Pending, InstanceState::Running] {
        let why = refusals(&view(None, Some(held.clone()), Some(state)));
        assert!(why.contains(&format!("{} is {state} and in no Auto Scaling group", instance(2))), "{why}");
    }
    let why = refusals(&view(None, Some(held.clone()), None));
    assert!(why.contains("may be too new to be known"), "{why}");
    let mut in_service = view(None, Some(held.clone()), Some(InstanceState::Running));
    let membership = |lifecycle: &str| Membership { group: "fw".to_owned(), lifecycle: lifecycle.to_owned() };
    for lifecycle in ["Pending:Wait", "InService", "Standby", "EnteringStandby", "Detached"] {
        in_service.memberships = [(instance(2), membership(lifecycle))].into();
        assert!(refusals(&in_service).contains(&format!("{lifecycle} in the group fw")));
    }
    in_service.memberships = [(instance(1), membership("Terminating:Wait"))].into();
    assert!(refusals(&in_service).contains("this instance is Terminating:Wait"));
    let of_aws = Attachment { instance: None, ..held };
    assert!(refusals(&view(None, Some(of_aws), None)).contains("a service of AWS has it"));
    let mut unknown = view(None, None, None);
    unknown.interfaces.remove(&eni(2));
    assert!(refusals(&unknown).contains("eni-00000000000000002 is not described"));
}

#[test]
fn what_an_instance_has_that_is_gone_is_detached_all_at_once() {
    let held =
        || (Some(attachment(1, 2, AttachmentState::Attached)), Some(attachment(2, 2, AttachmentState::Attached)));
    let detached = [
        "detach eni-00000000000000001 (eni-attach-00000000000000001)",
        "detach eni-00000000000000002 (eni-attach-00000000000000002)",
    ];
    for state in
        [InstanceState::ShuttingDown, InstanceState::Terminated, InstanceState::Stopping, InstanceState::Stopped]
    {
        assert_eq!(steps(&view(held().0, held().1, Some(state))), detached);
    }
    let mut terminating = view(held().0, held().1, Some(InstanceState::Running));
    for lifecycle in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained", "Terminated"] {
        let membership = Membership { group: "fw".to_owned(), lifecycle: lifecycle.to_owned() };
        terminating.memberships = [(instance(2), membership)].into();
        assert_eq!(steps(&terminating), detached, "{lifecycle}");
    }
    let unknown = view(held().0, held().1, None);
    let (mut memory, first) = (Memory::default(), Instant::now());
    memory.note(&unknown, first);
    let later = first + crate::takeover::owner::UNKNOWN;
    memory.note(&unknown, later);
    assert_eq!(decided(&unknown, &memory, later).steps.len(), 2, "EC2 has not known it for long");
    memory.note(&view(held().0, held().1, Some(InstanceState::Running)), later);
    memory.note(&unknown, later);
    assert!(decided(&unknown, &memory, later).steps.is_empty(), "it was known again in between");
}

#[test]
fn only_what_hangs_is_detached_by_force() {
    let hangs = |of| view(Some(attachment(1, of, AttachmentState::Detaching)), None, Some(InstanceState::Terminated));
    let (mut memory, first) = (Memory::default(), Instant::now());
    memory.note(&hangs(2), first);
    assert!(decided(&hangs(2), &memory, first + FORCE_AFTER / 2).steps.is_empty());
    let late = first + FORCE_AFTER;
    let force = Step::Detach { eni: eni(1), attachment: attachment_id(1), force: true };
    assert_eq!(decided(&hangs(2), &memory, late).steps, std::slice::from_ref(&force));
    memory.note_done(force, late);
    assert!(decided(&hangs(2), &memory, late).steps.is_empty(), "not every time that somebody looks");
    let mut own = Memory::default();
    own.note(&hangs(1), first);
    assert!(decided(&hangs(1), &own, late).steps.is_empty());
}

#[test]
fn an_index_that_is_taken_is_a_reason_for_another_one() {
    let mut memory = Memory::default();
    memory.note_taken(1);
    let step = decided(&view(None, None, None), &memory, Instant::now()).steps;
    assert_eq!(step, [Step::Attach { eni: eni(1), device_index: 2 }]);
    // One of the set has it, which works where it is.
    let first = Attachment { device_index: 2, ..attachment(1, 1, AttachmentState::Attached) };
    assert_eq!(steps(&view(Some(first), None, None)), ["attach eni-00000000000000002 as device 1"]);
}

/// EC2 as far as this matters: what is attached where, and which instances live. Nobody comes back to life.
#[derive(Clone)]
struct World {
    attachments: Vec<Option<Attachment>>,
    alive: Vec<bool>,
    next: u32,
}

const SET: u32 = 3;

impl World {
    /// Instance 0 has all.
    fn new(agents: usize) -> Self {
        let attachments = (1..=SET).map(|number| Some(attachment(number, 0, AttachmentState::Attached))).collect();
        Self { attachments, alive: vec![true; agents + 1], next: 100 }
    }

    fn view(&self) -> View {
        let interfaces = (1..=SET).zip(&self.attachments);
        let state = |alive: &bool| if *alive { InstanceState::Running } else { InstanceState::ShuttingDown };
        View {
            interfaces: interfaces.map(|(number, attachment)| (eni(number), interface(attachment.clone()))).collect(),
            instances: (0u32..).zip(&self.alive).map(|(number, alive)| (instance(number), state(alive))).collect(),
            ..View::default()
        }
    }

    fn is_alive(&self, of: &InstanceId) -> bool {
        (0u32..).zip(&self.alive).any(|(number, alive)| *alive && instance(number) == *of)
    }

    /// What EC2 does, or refuses.
    fn call(&mut self, step: &Step, caller: &InstanceId) -> Result<(), ()> {
        match step {
            Step::Detach { attachment, .. } => {
                let found = self.attachments.iter_mut().flatten().find(|found| found.id == *attachment).ok_or(())?;
                found.state = AttachmentState::Detaching;
                let of = found.instance.clone().unwrap();
                assert!(!self.is_alive(&of), "{caller} has detached what {of} has, which lives");
                Ok(())
            }
            Step::Attach { eni: wanted, device_index } => {
                let position = (1..=SET).position(|number| eni(number) == *wanted).ok_or(())?;
                if self.attachments[position].is_some() {
                    return Err(());
                }
                self.next += 1;
                let mut new = attachment(self.next, 0, AttachmentState::Attaching);
                (new.instance, new.device_index) = (Some(caller.clone()), *device_index);
                self.attachments[position] = Some(new);
                Ok(())
            }
            Step::ForwardForOthers { .. } | Step::KeepOnTermination { .. } => Ok(()),
        }
    }

    fn proceed(&mut self) {
        for attachment in &mut self.attachments {
            match attachment.as_mut().map(|attachment| (attachment.state, attachment)) {
                Some((AttachmentState::Attaching, found)) => found.state = AttachmentState::Attached,
                Some((AttachmentState::Detaching, _)) => *attachment = None,
                Some((AttachmentState::Attached | AttachmentState::Detached, _)) | None => {}
            }
        }
    }

    /// The living instances that have something.
    fn owners(&self) -> BTreeSet<InstanceId> {
        let owners = self.attachments.iter().flatten().filter_map(|attachment| attachment.instance.clone());
        owners.filter(|of| self.is_alive(of)).collect()
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// An agent looks, at a state that is so old, and calls; of its calls some are lost, before or behind EC2.
    Round {
        agent: usize,
        age: usize,
        lost: Vec<Option<bool>>,
    },
    Proceed,
    Dies(usize),
    /// An agent is killed and starts again: what it remembers is gone.
    Forgets(usize),
}

fn event(agents: usize) -> impl Strategy<Value = Event> {
    let lost = prop::collection::vec(prop::option::weighted(0.3, any::<bool>()), SET as usize);
    prop_oneof![
        6 => (1..=agents, 0..4usize, lost).prop_map(|(agent, age, lost)| Event::Round { agent, age, lost }),
        3 => Just(Event::Proceed),
        1 => (0..=agents).prop_map(Event::Dies),
        1 => (1..=agents).prop_map(Event::Forgets),
    ]
}

struct Agents {
    world: World,
    history: Vec<World>,
    memories: Vec<Memory>,
    now: Instant,
}

impl Agents {
    fn round(&mut self, agent: usize, age: usize, lost: &[Option<bool>]) -> Standing {
        self.now += Duration::from_secs(1);
        let own = instance(u32::try_from(agent).unwrap());
        let seen = self.history[self.history.len().saturating_sub(1 + age)].view();
        let memory = &mut self.memories[agent];
        memory.note(&seen, self.now);
        let wanted = wanted(SET);
        let Decision { steps, standing } = decide(&own, &wanted, &seen, memory, (self.now, FORCE_AFTER));
        for (position, step) in steps.into_iter().enumerate() {
            let lost = lost.get(position).copied().flatten();
            if lost == Some(true) {
                continue;
            }
            let called = self.world.call(&step, &own);
            if called.is_ok() && lost.is_none() {
                memory.note_done(step, self.now);
            }
        }
        standing
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nobody_takes_from_the_living_never_two_have_it_and_the_last_one_gets_it(
        events in prop::collection::vec(event(3), 1..60)
    ) {
        let world = World::new(3);
        let mut agents = Agents { history: vec![world.clone()], world, memories: vec![Memory::default(); 4], now: Instant::now() };
        for event in events {
            match event {
                Event::Round { agent, age, lost } if agents.world.alive[agent] => {
                    agents.round(agent, age, &lost);
                }
                Event::Round { .. } => {}
                Event::Proceed => agents.world.proceed(),
                Event::Dies(number) => agents.world.alive[number] = false,
                Event::Forgets(agent) => agents.memories[agent] = Memory::default(),
            }
            agents.history.push(agents.world.clone());
            prop_assert!(agents.world.owners().len() <= 1, "{:?}", agents.world.owners());
        }
        // Afterwards all is well: the old one dies, and of the others one gets the set, unless one of them had it.
        agents.world.alive[0] = false;
        let mut standings = vec![Standing::Ours; 4];
        for _ in 0..60 {
            for agent in (1..=3).filter(|agent| agents.world.alive[*agent]).collect::<Vec<_>>() {
                agents.history.push(agents.world.clone());
                standings[agent] = agents.round(agent, 0, &[]);
            }
            agents.world.proceed();
        }
        let ours = (1..=3).filter(|agent| agents.world.alive[*agent] && standings[*agent] == Standing::Ours).count();
        let living = (1..=3).filter(|agent| agents.world.alive[*agent]).count();
        prop_assert_eq!(ours, living.min(1));
        let attached = agents.world.attachments.iter().flatten().count();
        prop_assert!(living == 0 || attached == SET as usize, "{attached}");
    }
}
