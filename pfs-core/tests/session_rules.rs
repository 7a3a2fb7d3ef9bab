//! Stories of sessions: one rule of docs/TOKENS.md each, told by the messages of one client and one coordinator.

use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, ServerId};
use pfs_core::pattern::RangePattern;
use pfs_core::session::client::{ClientSession, EndReason, SessionAction};
use pfs_core::session::coordinator::{Action, Coordinator, HelloRefused, Victim};
use pfs_core::session::{Heartbeat, HeartbeatAnswer, Hello, Terms, Welcome};
use pfs_core::token::manager::ManagerAction;
use pfs_core::token::message::{Ack, Acquire, Grant, Mode, Reassertion, Refusal, Revoke, Undrained};

const TERMS: Terms = Terms { lease_ms: 1000, heartbeat_ms: 300 };
const GRACE_MS: u64 = 1500;
const REVOKE_TIMEOUT_MS: u64 = 4000;
const FILE: FileId = FileId::new(7).unwrap();

fn boot(number: u64) -> Boot {
    Boot::new(number).unwrap()
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).unwrap()
}

fn server(number: u32) -> ServerId {
    ServerId::new(number).unwrap()
}

fn own(number: u64) -> Holder {
    Holder::Client(client(number))
}

fn group() -> GroupId {
    GroupId::new(1).unwrap()
}

fn bytes(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

fn hello(number: u64, boot_number: u64, received: u64) -> Hello {
    Hello { client: client(number), boot: boot(boot_number), received }
}

/// A coordinator with what it wanted done, in order.
struct Story {
    coordinator: Coordinator<&'static str>,
    now_ms: u64,
    last_request: u64,
}

impl Story {
    /// A first start with one file server that has shown that it knows of it.
    fn begin() -> Story {
        let mut story = Story::at_start(1);
        story.coordinator.start(0);
        story.server_beats(1);
        assert!(story.actions().contains(&Action::GraceOver));
        story
    }

    /// A start that has not been told what the store knows.
    fn at_start(boot_number: u64) -> Story {
        let mut coordinator = Coordinator::new(boot(boot_number), TERMS, GRACE_MS, REVOKE_TIMEOUT_MS, 10, 0);
        coordinator.know_server(server(1));
        Story { coordinator, now_ms: 0, last_request: 0 }
    }

    fn actions(&mut self) -> Vec<Action<&'static str>> {
        std::iter::from_fn(|| self.coordinator.poll_action(self.now_ms)).collect()
    }

    fn server_beats(&mut self, version: u64) {
        self.coordinator.handle_server(server(1), Some(version), self.now_ms);
    }

    fn joins(&mut self, number: u64) {
        self.coordinator.admit(client(number), self.now_ms);
        self.coordinator.activate(client(number), self.now_ms);
        self.coordinator.manager().open(own(number), FILE, OpenId::new(number).unwrap());
        self.coordinator.handle_hello(hello(number, self.coordinator.boot().get(), 0), self.now_ms).unwrap();
        self.actions();
    }

    fn beats(&mut self, number: u64, received: u64, progress: u64) -> Option<HeartbeatAnswer> {
        let beat = Heartbeat { number: self.now_ms, received, progress };
        self.coordinator.handle_heartbeat(client(number), beat, self.now_ms)
    }

    /// Lets time pass in steps; these clients and the file server give signs of life.
    fn pass(&mut self, ms: u64, alive: &[u64]) -> Vec<Action<&'static str>> {
        let end_ms = self.now_ms + ms;
        let mut actions = Vec::new();
        while self.now_ms < end_ms {
            self.now_ms = (self.now_ms + 100).min(end_ms);
            for number in alive {
                self.beats(*number, 0, 0);
            }
            self.coordinator.handle_server(server(1), Some(1), self.now_ms);
            self.coordinator.handle_timeout(self.now_ms);
            actions.extend(self.actions());
        }
        actions
    }

    fn asks(&mut self, number: u64, holder: Holder, range: Extent) {
        self.last_request += 1;
        let acquire = Acquire {
            request: RequestId::new(self.last_request).unwrap(),
            holder,
            file: FILE,
            mode: Mode::Exclusive,
            required: vec![RangePattern::from(range)],
            desired: None,
            collective: false,
        };
        self.coordinator.manager().handle_acquire(client(number), acquire);
    }

    fn acks(&mut self, number: u64, revoke: &Revoke, undrained: Vec<Undrained>) {
        let released = vec![revoke.range];
        let ack = Ack { revoke: revoke.revoke, holder: revoke.holder, file: FILE, released, size: None, undrained };
        self.coordinator.handle_ack(client(number), ack);
    }
}

fn grants(actions: &[Action<&'static str>]) -> Vec<Grant> {
    let grant = |action: &Action<_>| match action {
        Action::Tokens(ManagerAction::Grant { grant, .. }) => Some(grant.clone()),
        _ => None,
    };
    actions.iter().filter_map(grant).collect()
}

fn revokes(actions: &[Action<&'static str>]) -> Vec<Revoke> {
    let revoke = |action: &Action<_>| match action {
        Action::Tokens(ManagerAction::Revoke { revoke, .. }) => Some(revoke.clone()),
        _ => None,
    };
    actions.iter().filter_map(revoke).collect()
}

fn said(reassertion_of: u64, range: Extent) -> Reassertion {
    Reassertion {
        holder: own(reassertion_of),
        members: vec![],
        file: FILE,
        opens: vec![OpenId::new(reassertion_of).unwrap()],
        ranges: vec![(range, Mode::Exclusive)],
        size: None,
    }
}

/// Rule 17: recorded, fenced, freed; and what the dead one held is granted only then.
#[test]
fn a_silent_client_is_recorded_fenced_and_freed_in_this_order() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.asks(10, own(10), bytes(0, 10));
    assert_eq!(grants(&story.actions()).len(), 1);
    story.asks(11, own(11), bytes(5, 8));
    let victim = Victim::Client(client(10));
    let actions = story.pass(1200, &[11]);
    assert!(actions.contains(&Action::Record(victim)));
    assert!(!actions.iter().any(|action| matches!(action, Action::Fence { .. })), "not before it is durable");
    assert_eq!(story.coordinator.handle_hello(hello(10, 1, 0), story.now_ms), Err(HelloRefused::NoSession(client(10))));
    assert!(story.coordinator.fences().1.live_below_floor.contains(&client(10)));

    story.coordinator.handle_recorded(victim, story.now_ms);
    assert_eq!(story.actions(), [Action::Fence { server: server(1), victim }]);
    assert!(!story.coordinator.fences().1.live_below_floor.contains(&client(10)));
    assert_eq!(grants(&story.pass(500, &[11])), []);

    story.coordinator.handle_fenced(server(1), victim, story.now_ms);
    let actions = story.actions();
    assert!(actions.contains(&Action::Freed(victim)));
    assert_eq!(grants(&actions)[0].holder, own(11));
}

/// Rule 16: a file server that does not answer is waited for until its own lease has surely run out; a heartbeat with the
/// fence's version is as good as an answer.
#[test]
fn an_unreachable_file_server_counts_when_its_own_lease_has_run_out() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.asks(10, own(10), bytes(0, 10));
    story.asks(11, own(11), bytes(0, 10));
    story.pass(1200, &[11]);
    let victim = Victim::Client(client(10));
    story.coordinator.handle_recorded(victim, story.now_ms);
    // The file server is heard until here, with the fences of before.
    let last_heard_ms = story.now_ms;
    let mut freed_ms = None;
    while freed_ms.is_none() && story.now_ms < last_heard_ms + 5000 {
        story.now_ms += 50;
        story.beats(11, 0, 0);
        story.coordinator.handle_timeout(story.now_ms);
        if story.actions().contains(&Action::Freed(victim)) {
            freed_ms = Some(story.now_ms);
        }
    }
    assert!(freed_ms.unwrap() >= last_heard_ms + TERMS.lease_ms + TERMS.margin_ms());

    let mut story = Story::begin();
    story.joins(10);
    story.pass(1200, &[]);
    story.coordinator.handle_recorded(victim, story.now_ms);
    let version = story.coordinator.fences().0;
    story.server_beats(version - 1);
    assert!(!story.actions().contains(&Action::Freed(victim)));
    story.server_beats(version);
    assert!(story.actions().contains(&Action::Freed(victim)));
}

/// Rule 19: what one side has not seen is repeated, in order, and handled once.
#[test]
fn a_new_connection_repeats_what_was_not_seen() {
    let mut story = Story::begin();
    story.joins(10);
    for message in ["a", "b", "c"] {
        story.coordinator.send(client(10), message, 0);
    }
    assert_eq!(story.actions().len(), 3);
    assert!(story.coordinator.handle_arrival(client(10), 1));
    assert!(!story.coordinator.handle_arrival(client(10), 3), "message 2 is missing");
    assert_eq!(story.actions(), [Action::Cut(client(10))]);
    let (welcome, connection) = story.coordinator.handle_hello(hello(10, 1, 1), 0).unwrap();
    assert_eq!((welcome, connection), (Welcome { boot: boot(1), received: 1 }, 2));
    let again = |number, message| Action::Send { to: client(10), number, message };
    assert_eq!(story.actions(), [again(2, "b"), again(3, "c")]);
    story.coordinator.handle_disconnected(client(10), 1);
    assert!(story.coordinator.is_connected(client(10)), "the end of an old connection says nothing");
    assert!(!story.coordinator.handle_arrival(client(10), 1), "seen before");
    assert!(story.coordinator.handle_arrival(client(10), 2));
}

/// Rule 18: nothing is granted before every known client has spoken and the file server refuses the earlier boot.
#[test]
fn after_a_restart_nothing_is_granted_before_all_have_spoken() {
    let mut story = Story::at_start(2);
    story.coordinator.know_client(client(8));
    story.coordinator.know_client(client(9));
    story.coordinator.start(0);
    story.joins(10);
    story.asks(10, own(10), bytes(0, 5));
    let (welcome, _) = story.coordinator.handle_hello(hello(8, 1, 77), 10).unwrap();
    assert_eq!(welcome, Welcome { boot: boot(2), received: 0 });
    story.coordinator.handle_reassert(client(8), &said(8, bytes(0, 10)), 10).unwrap();
    story.coordinator.handle_reassert_done(client(8), 10);
    assert_eq!(story.actions(), [Action::Reasserted(client(8))]);
    story.server_beats(1);
    assert_eq!(story.actions(), [], "client 9 has not spoken");

    story.coordinator.handle_hello(hello(9, 1, 0), 20).unwrap();
    story.coordinator.handle_reassert_done(client(9), 20);
    let actions = story.actions();
    assert!(actions.contains(&Action::GraceOver));
    assert_eq!(revokes(&actions)[0].holder, own(8), "what was said again is asked for in order");
    assert_eq!(grants(&actions), []);
    let late = story.coordinator.handle_reassert(client(9), &said(9, bytes(20, 30)), 30);
    assert_eq!(late, Err(Refusal::NoSession(client(9))), "it has said that it was all");
}

/// Rule 18: a client that does not speak in the grace is fenced, and refused when it comes.
#[test]
fn a_client_that_is_late_after_a_restart_is_shut_out() {
    let mut story = Story::at_start(2);
    story.coordinator.know_client(client(8));
    story.coordinator.start(0);
    let actions = story.pass(GRACE_MS - 100, &[]);
    assert_eq!(actions, []);
    let victim = Victim::Client(client(8));
    assert_eq!(story.pass(100, &[]), [Action::Cut(client(8)), Action::Record(victim)]);
    assert!(story.coordinator.in_grace());
    assert!(story.coordinator.handle_hello(hello(8, 1, 0), story.now_ms).is_err());
    story.coordinator.handle_recorded(victim, story.now_ms);
    story.coordinator.handle_fenced(server(1), victim, story.now_ms);
    assert!(story.actions().contains(&Action::GraceOver));
}

/// Rules 6, 18: members of a group may know of different grants; the group has what any of them knows of, and a member
/// that died before the restart is not waited for.
#[test]
fn a_group_gets_back_what_any_member_knows_of() {
    let mut story = Story::at_start(2);
    [6, 7].into_iter().for_each(|number| story.coordinator.know_client(client(number)));
    story.coordinator.start(0);
    for (number, range) in [(6, bytes(0, 10)), (7, bytes(5, 20))] {
        story.coordinator.handle_hello(hello(number, 1, 0), 0).unwrap();
        let members = vec![client(5), client(6), client(7)];
        let said = Reassertion { holder: Holder::Group(group()), members, ..said(1, range) };
        story.coordinator.handle_reassert(client(number), &said, 0).unwrap();
        story.coordinator.handle_reassert_done(client(number), 0);
    }
    story.server_beats(1);
    story.joins(10);
    story.asks(10, own(10), bytes(12, 13));
    let asked = revokes(&story.actions());
    assert_eq!(asked.len(), 2, "one for each member that lives");
    story.acks(6, &asked[0], vec![]);
    assert_eq!(grants(&story.actions()), []);
    story.acks(7, &asked[1], vec![]);
    assert_eq!(grants(&story.actions())[0].holder, own(10));
}

/// Rule 8: a client that renews its lease and neither acks nor gets on is shut out; one that gets on is waited for.
#[test]
fn a_holder_that_does_not_give_way_is_shut_out() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.asks(10, own(10), bytes(0, 10));
    story.asks(11, own(11), bytes(0, 10));
    story.actions();
    for step in 1..=20 {
        story.now_ms += 500;
        story.beats(10, 0, step);
        story.beats(11, 0, 0);
        story.server_beats(1);
        story.coordinator.handle_timeout(story.now_ms);
    }
    assert_eq!(story.actions(), [], "client 10 writes back, slowly");
    let actions = story.pass(REVOKE_TIMEOUT_MS + 600, &[10, 11]);
    assert!(actions.contains(&Action::Record(Victim::Client(client(10)))));
}

/// Rule 8: what a client has in its cache no fence keeps from it. It goes on reading there until it hears that it was given up,
/// or until its lease is over; when it was not waited for, it read what others had overwritten.
#[test]
fn a_holder_that_is_shut_out_is_freed_when_its_lease_is_over() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.asks(10, own(10), bytes(0, 10));
    story.asks(11, own(11), bytes(0, 10));
    let victim = Victim::Client(client(10));
    while !story.pass(100, &[10, 11]).contains(&Action::Record(victim)) {}
    story.coordinator.handle_recorded(victim, story.now_ms);
    story.coordinator.handle_fenced(server(1), victim, story.now_ms);
    assert_eq!(grants(&story.pass(TERMS.lease_ms, &[11])), [], "it is fenced, and reads its cache");
    let actions = story.pass(TERMS.margin_ms() + 100, &[11]);
    assert!(actions.contains(&Action::Freed(victim)));
    assert_eq!(grants(&actions)[0].holder, own(11));
}

/// Rule 8: a group is shut out as a whole, and its members live on. They hear of it as soon as it is durable, and what the
/// group had is free when they have.
#[test]
fn a_group_that_does_not_give_way_is_shut_out_as_a_whole() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.coordinator.manager().add_group(group(), vec![client(10)]);
    story.coordinator.manager().open(Holder::Group(group()), FILE, OpenId::new(99).unwrap());
    story.asks(10, Holder::Group(group()), bytes(0, 10));
    story.asks(11, own(11), bytes(0, 10));
    let victim = Victim::Group(group());
    let actions = story.pass(REVOKE_TIMEOUT_MS + 200, &[10, 11]);
    assert!(actions.contains(&Action::Record(victim)));
    story.coordinator.handle_recorded(victim, story.now_ms);
    assert!(story.coordinator.fences().1.groups.contains(&group()));
    assert_eq!(story.actions()[0], Action::GroupLost { group: group(), tell: vec![client(10)] });
    story.coordinator.send_group_lost(client(10), group(), "your group is lost", story.now_ms);
    story.coordinator.handle_fenced(server(1), victim, story.now_ms);
    assert_eq!(grants(&story.pass(2 * TERMS.lease_ms, &[10, 11])), [], "it lives, and has not heard of it");
    story.beats(10, 1, 0);
    let actions = story.actions();
    assert!(actions.contains(&Action::Freed(victim)));
    assert_eq!(grants(&actions)[0].holder, own(11));
    assert!(story.coordinator.is_live(client(10)));
}

/// Rule 7: an ack that names a server holds the table back until that server was drained, or has lapsed.
#[test]
fn an_ack_with_an_undrained_write_waits_for_the_drain() {
    for lapses in [false, true] {
        let mut story = Story::begin();
        story.joins(10);
        story.joins(11);
        story.asks(10, own(10), bytes(0, 10));
        story.asks(11, own(11), bytes(0, 10));
        let revoke = revokes(&story.actions()).remove(0);
        story.acks(10, &revoke, vec![Undrained { server: server(1), boot: boot(1), sequence: 5 }]);
        let actions = story.actions();
        let Action::Drain { stamp, sequence, .. } = actions[0] else { panic!("{actions:?}") };
        assert_eq!((stamp.incarnation, stamp.holder, sequence), (client(10), own(10), 5));
        assert_eq!(grants(&story.pass(500, &[10, 11])), []);
        if lapses {
            for _ in 0..20 {
                story.now_ms += 100;
                story.beats(10, 0, 0);
                story.beats(11, 0, 0);
                story.coordinator.handle_timeout(story.now_ms);
            }
            // What is still on its way to the server must not be applied when it is back.
            let version = story.coordinator.fences().0;
            assert_eq!(story.coordinator.drains(server(1)), [(stamp, 5)]);
            story.coordinator.handle_server(server(1), None, story.now_ms);
            story.server_beats(version - 1);
            assert_eq!(story.coordinator.drains(server(1)).len(), 1, "it has not shown that it was told");
            story.server_beats(version);
            assert_eq!(story.coordinator.drains(server(1)), []);
        } else {
            story.coordinator.handle_drained(server(1), stamp, 5);
        }
        assert_eq!(grants(&story.actions())[0].holder, own(11));
    }
}

/// Rule 7: a write is named once. Another ack that gives up the same bytes waits for its drain, too.
#[test]
fn acks_of_the_same_bytes_wait_for_the_same_drain() {
    let mut story = Story::begin();
    [10, 11, 12].into_iter().for_each(|number| story.joins(number));
    story.asks(10, own(10), bytes(0, 10));
    story.asks(11, own(11), bytes(0, 5));
    story.asks(12, own(12), bytes(5, 10));
    let asked = revokes(&story.actions());
    story.acks(10, &asked[0], vec![Undrained { server: server(1), boot: boot(1), sequence: 5 }]);
    let Some(Action::Drain { stamp, .. }) = story.actions().first().cloned() else { panic!("a drain") };
    let released = vec![bytes(4, 10)];
    let Revoke { revoke, holder, .. } = asked[1];
    let second = Ack { revoke, holder, file: FILE, released, size: None, undrained: vec![] };
    story.coordinator.handle_ack(client(10), second);
    assert_eq!(grants(&story.actions()), []);
    story.coordinator.handle_drained(server(1), stamp, 5);
    assert_eq!(grants(&story.actions()).len(), 2);
}

/// Rule 17: the others of a group hear that a member was given up as soon as that is durable.
#[test]
fn the_members_of_a_group_hear_of_a_loss() {
    let mut story = Story::begin();
    story.joins(10);
    story.joins(11);
    story.coordinator.manager().add_group(group(), vec![client(10), client(11)]);
    let lost = Action::MemberLost { group: group(), member: client(10), tell: vec![client(11)] };
    assert!(!story.pass(1200, &[11]).contains(&lost), "a restart could still take it over again");
    story.coordinator.handle_recorded(Victim::Client(client(10)), story.now_ms);
    let actions = story.actions();
    assert!(actions.contains(&lost), "{actions:?}");
}

/// The metadata server gives a member up and ends before it has told the others. The next start does not know the dead
/// member any more: whoever says that it was in its group is told then. Otherwise a collective would wait for it for ever.
#[test]
fn a_loss_that_was_not_told_before_a_restart_is_told_after_it() {
    let mut story = Story::at_start(2);
    story.coordinator.know_client(client(7));
    story.coordinator.start(0);
    story.coordinator.handle_hello(hello(7, 1, 0), 0).unwrap();
    let members = vec![client(6), client(7)];
    let said = Reassertion { holder: Holder::Group(group()), members, ..said(7, bytes(0, 10)) };
    story.coordinator.handle_reassert(client(7), &said, 0).unwrap();
    let lost = Action::MemberLost { group: group(), member: client(6), tell: vec![client(7)] };
    let actions = story.actions();
    assert!(actions.contains(&lost), "{actions:?}");
}

/// After what could be done was done, the next timeout is in the future: a shell that sleeps until it never spins.
/// Clients are silent, too, for a server that stands still. Their signs of life are unread, not missing.
#[test]
fn a_server_that_stood_still_hears_everybody_anew() {
    let mut story = Story::begin();
    story.joins(11);
    story.joins(12);
    story.now_ms += 10 * TERMS.lease_ms;
    story.coordinator.handle_timeout(story.now_ms);
    assert_eq!(story.actions(), []);
    story.beats(11, 0, 0);
    let actions = story.pass(2 * TERMS.lease_ms, &[11]);
    assert!(actions.contains(&Action::Cut(client(12))), "who is silent from now on is given up");
    assert!(story.coordinator.is_live(client(11)));
}

#[test]
fn handled_timeouts_do_not_repeat() {
    let mut story = Story::at_start(2);
    story.coordinator.know_client(client(8));
    story.coordinator.start(0);
    for _ in 0..100 {
        let Some(at_ms) = story.coordinator.poll_timeout() else { break };
        assert!(at_ms > story.now_ms);
        story.now_ms = at_ms;
        story.coordinator.handle_timeout(at_ms);
        story.actions();
    }
    assert_eq!(story.coordinator.poll_timeout(), None, "only the record and the fence are awaited");
}

fn session() -> ClientSession<&'static str> {
    let mut session = ClientSession::new(client(10), boot(1), TERMS, 10_000, 0);
    assert_eq!(session.poll_action(), Some(SessionAction::Connect));
    session
}

fn connected() -> ClientSession<&'static str> {
    let mut session = session();
    session.handle_connected(0);
    assert_eq!(session.poll_action(), Some(SessionAction::Hello(hello(10, 1, 0))));
    session.handle_welcome(Welcome { boot: boot(1), received: 0 }, 0);
    session
}

fn drain(session: &mut ClientSession<&'static str>) -> Vec<SessionAction<&'static str>> {
    std::iter::from_fn(|| session.poll_action()).collect()
}

/// Rule 14: the lease counts from the sending of the heartbeat that was answered, and ends without anybody's help.
#[test]
fn a_client_stops_itself_when_its_lease_has_run_out() {
    let mut session = connected();
    session.handle_timeout(100);
    let actions = drain(&mut session);
    let [SessionAction::Heartbeat(beat)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(session.may_access(999) && !session.may_access(1000));
    session.handle_heartbeat_answer(HeartbeatAnswer { number: beat.number, received: 0 }, 900);
    assert!(session.may_access(1099) && !session.may_access(1100), "from the sending, not from the answer");
    session.handle_timeout(1100);
    assert!(drain(&mut session).contains(&SessionAction::Suspend));
}

/// A broken connection is a pause: unsent and unseen messages go out on the next one.
#[test]
fn a_broken_connection_is_made_again_and_messages_are_repeated() {
    let mut session = connected();
    session.send("a");
    session.send("b");
    drain(&mut session);
    session.handle_disconnected(10);
    session.send("c");
    assert_eq!(drain(&mut session), []);
    let at_ms = session.poll_timeout().unwrap();
    session.handle_timeout(at_ms);
    assert_eq!(drain(&mut session), [SessionAction::Connect]);
    session.handle_connected(at_ms);
    session.handle_welcome(Welcome { boot: boot(1), received: 1 }, at_ms + 1);
    let sent = drain(&mut session);
    let expected = [(2, "b"), (3, "c")].map(|(number, message)| SessionAction::Send { number, message });
    assert_eq!(sent[1..], expected);
}

/// Rule 18: after a restart the client says what it holds, and its stamps change only when that was taken over.
#[test]
fn a_restarted_manager_is_told_everything_first() {
    let mut session = connected();
    session.send("lost");
    drain(&mut session);
    session.handle_disconnected(10);
    session.handle_timeout(100);
    drain(&mut session);
    session.handle_connected(100);
    session.handle_welcome(Welcome { boot: boot(2), received: 0 }, 110);
    assert_eq!(
        drain(&mut session),
        [SessionAction::Hello(hello(10, 1, 0)), SessionAction::Suspend, SessionAction::Reassert]
    );
    session.send("held");
    assert_eq!(drain(&mut session), [SessionAction::Send { number: 1, message: "held" }]);
    assert_eq!((session.boot(), session.may_access(120)), (boot(1), false));
    session.handle_reasserted(130);
    assert_eq!(drain(&mut session), [SessionAction::Resumed { boot: boot(2) }, SessionAction::Resume]);
    assert_eq!((session.boot(), session.may_access(140)), (boot(2), true));
}

/// A session ends when it is refused, or after the patience that its owner has; nothing is sent afterwards.
#[test]
fn a_session_ends_for_good() {
    let mut session = connected();
    session.handle_given_up();
    session.send("a");
    session.handle_timeout(5000);
    assert_eq!(drain(&mut session).last(), Some(&SessionAction::End(EndReason::GivenUp)));
    assert_eq!((session.may_access(1), session.poll_timeout()), (false, None));

    let mut session = connected();
    session.handle_disconnected(10);
    let mut ended = false;
    while let Some(at_ms) = session.poll_timeout() {
        session.handle_timeout(at_ms);
        for action in drain(&mut session) {
            match action {
                SessionAction::Connect => session.handle_disconnected(at_ms),
                SessionAction::End(reason) => {
                    assert_eq!((reason, at_ms), (EndReason::Unreachable { patience_ms: 10_000 }, 10_000));
                    ended = true;
                }
                _ => {}
            }
        }
    }
    assert!(ended);
}

/// A client that is sent very much tells early what it has seen, so that the manager need not keep it.
#[test]
fn many_messages_are_acknowledged_before_the_next_heartbeat_is_due() {
    let mut session = connected();
    session.handle_timeout(0);
    drain(&mut session);
    for number in 1..=20_000 {
        assert!(session.handle_arrival(number, 1));
    }
    let received = |action| match action {
        SessionAction::Heartbeat(beat) => beat.received,
        other => panic!("{other:?}"),
    };
    let told: Vec<u64> = drain(&mut session).into_iter().map(received).collect();
    assert_eq!(told, [8192, 16_384]);
}
