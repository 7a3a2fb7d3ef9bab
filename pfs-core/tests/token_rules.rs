//! One small story for each rule of the token manager, told as the messages that it sends.
//!
//! `c1`… are clients, `g1` is a group of c1 and c2. A line is `to: message`; ranges are in bytes.

use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::holder::{HolderAction, TokenHolder};
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{
    Ack, Acquire, AcquireSet, FileSize, Grant, Mode, Reassertion, Release, Revoke, SetId, SetPart,
};

struct Story {
    manager: TokenManager,
    last_request: u64,
}

fn file() -> FileId {
    FileId::new(1).unwrap()
}

fn client(number: u64) -> ClientId {
    ClientId::new(number).unwrap()
}

fn open(number: u64) -> OpenId {
    OpenId::new(number).unwrap()
}

fn group() -> Holder {
    Holder::Group(GroupId::new(1).unwrap())
}

impl Story {
    /// Clients 1 to 4, of which `alone` open the file as their own holder, and group 1 of c1 and c2. The opens of `alone`
    /// are numbered from 1; the group's is 100.
    fn new(alone: &[u64], with_group: bool) -> Story {
        let mut manager = TokenManager::new(Boot::new(1).unwrap());
        (1..=4).for_each(|number| manager.add_client(client(number)));
        for (number, open_number) in alone.iter().zip(1..) {
            manager.open(Holder::Client(client(*number)), file(), open(open_number));
        }
        if with_group {
            manager.add_group(GroupId::new(1).unwrap(), vec![client(1), client(2)]);
            manager.open(group(), file(), open(100));
        }
        Story { manager, last_request: 0 }
    }

    fn ask_as(
        &mut self,
        from: u64,
        holder: Holder,
        mode: Mode,
        range: (u64, u64),
        desired: Option<Extent>,
        collective: bool,
    ) -> Vec<String> {
        self.last_request += 1;
        let required = vec![RangePattern::from(Extent::new(range.0, range.1).unwrap())];
        let request = RequestId::new(self.last_request).unwrap();
        let acquire = Acquire { request, holder, file: file(), mode, required, desired, collective };
        self.manager.handle_acquire(client(from), acquire);
        self.told()
    }

    /// A client asks for itself and would like everything.
    fn ask(&mut self, from: u64, mode: Mode, range: (u64, u64)) -> Vec<String> {
        self.ask_as(from, Holder::Client(client(from)), mode, range, Some(Extent::ALL), false)
    }

    /// A client asks for several clients at once: for each its ranges.
    fn ask_set(&mut self, from: u64, mode: Mode, parts: &[(Holder, (u64, u64))]) -> Vec<String> {
        self.last_request += 1;
        let request = RequestId::new(self.last_request).unwrap();
        let part = |(holder, range): &(Holder, (u64, u64))| SetPart {
            holder: *holder,
            required: vec![RangePattern::from(Extent::new(range.0, range.1).unwrap())],
        };
        let parts = parts.iter().map(part).collect();
        self.manager.handle_acquire_set(client(from), AcquireSet { request, file: file(), mode, parts });
        self.told()
    }

    /// A client says what it held before a restart.
    fn reassert(&mut self, from: u64, holder: Holder, opens: &[u64], ranges: &[(u64, u64, Mode)]) -> String {
        let members = if holder == group() { vec![client(1), client(2)] } else { Vec::new() };
        let ranges = ranges.iter().map(|(start, end, mode)| (Extent::new(*start, *end).unwrap(), *mode)).collect();
        let opens = opens.iter().map(|number| open(*number)).collect();
        let reassertion = Reassertion { holder, members, file: file(), opens, ranges, size: None };
        match self.manager.reassert(client(from), &reassertion) {
            Ok(()) => "taken over".to_owned(),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn ask_exactly(&mut self, from: u64, mode: Mode, range: (u64, u64)) -> Vec<String> {
        self.ask_as(from, Holder::Client(client(from)), mode, range, None, false)
    }

    fn ack(&mut self, from: u64, holder: Holder, revoke: u64, released: &[(u64, u64)]) -> Vec<String> {
        let released = released.iter().map(|(start, end)| Extent::new(*start, *end).unwrap()).collect();
        let revoke = RevokeId::new(revoke).unwrap();
        let ack = Ack { revoke, holder, file: file(), released, size: None, undrained: Vec::new() };
        self.manager.handle_ack(client(from), &ack);
        self.told()
    }

    /// Clients 1 to 4 with sessions, after a restart that nobody has said anything to.
    fn in_grace() -> Story {
        let mut manager = TokenManager::in_grace(Boot::new(2).unwrap());
        (1..=4).for_each(|number| manager.add_client(client(number)));
        Story { manager, last_request: 0 }
    }

    fn told(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.manager.counters().live_ranges < 1000 {
            self.manager.assert_invariants();
        }
        while let Some(action) = self.manager.poll_action() {
            lines.push(match action {
                ManagerAction::Grant { to, grant } => {
                    let ranges: Vec<String> = grant.ranges.iter().map(Extent::to_string).collect();
                    let kind = match (grant.collective, grant.set) {
                        (true, _) => "collective grant",
                        (_, Some(set)) => &format!("grant of {}'s set", set.client),
                        _ => "grant",
                    };
                    format!("c{}: {kind} {} {} {}", to.get(), grant.sequence, grant.mode, ranges.join(" "))
                }
                ManagerAction::Revoke { to, revoke } => {
                    let keep = if revoke.downgrade { " to shared" } else { "" };
                    format!(
                        "c{}: revoke {} {}{keep} after {}",
                        to.get(),
                        revoke.revoke.get(),
                        revoke.range,
                        revoke.covers_sequence
                    )
                }
                ManagerAction::Refused { to, refusal, .. } => format!("c{}: {refusal}", to.get()),
                ManagerAction::ManagerGranted { operation, .. } => format!("server: {operation} granted"),
            });
        }
        lines
    }

    fn table(&self) -> Vec<String> {
        let line = |t: pfs_core::token::manager::TokenRange| format!("{} {} {:?}", t.range, t.mode, t.holders);
        self.manager.tokens(file()).into_iter().map(line).collect()
    }
}

fn own(number: u64) -> Holder {
    Holder::Client(client(number))
}

#[test]
fn the_sole_user_gets_the_whole_file_at_once() {
    let mut story = Story::new(&[1, 2], false);
    assert_eq!(story.ask(1, Mode::Exclusive, (100, 200)), ["c1: grant 1 exclusive [0, ∞)"]);
}

#[test]
fn a_conflict_takes_back_what_is_needed_and_a_split_keeps_both_remnants() {
    let mut story = Story::new(&[1, 2], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    assert_eq!(story.ask(2, Mode::Exclusive, (100, 200)), ["c1: revoke 1 [100, 200) after 0"]);
    assert_eq!(story.ack(1, own(1), 1, &[(100, 200)]), ["c2: grant 1 exclusive [100, 200)"]);
    assert_eq!(
        story.table(),
        ["[0, 100) exclusive [client-1]", "[100, 200) exclusive [client-2]", "[200, ∞) exclusive [client-1]"]
    );
}

#[test]
fn a_holder_may_give_up_more_than_it_must() {
    let mut story = Story::new(&[1, 2], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    story.ask(2, Mode::Exclusive, (100, 200));
    story.ack(1, own(1), 1, &[(10, u64::MAX)]);
    assert_eq!(story.table(), ["[0, 10) exclusive [client-1]", "[100, 200) exclusive [client-2]"]);
    // No conflict now: the next grant is wider, and the one after it wider still.
    assert_eq!(story.ask(2, Mode::Exclusive, (200, 300)), ["c2: grant 2 exclusive [10, 65836)"]);
    assert_eq!(story.ask(2, Mode::Exclusive, (65836, 65900)), ["c2: grant 3 exclusive [10, 196972)"]);
}

/// A member of a group acks and gives up more; then the other member gets a grant that names some of it. What the acks
/// offer beyond the revoke must not take away what was just granted.
#[test]
fn an_offer_is_void_when_a_grant_came_between() {
    let mut story = Story::new(&[3], true);
    story.ask_as(1, group(), Mode::Exclusive, (0, 10), Some(Extent::ALL), false);
    assert_eq!(
        story.ask(3, Mode::Exclusive, (100, 200)),
        ["c1: revoke 1 [100, 200) after 0", "c2: revoke 1 [100, 200) after 0"]
    );
    assert_eq!(story.ack(2, group(), 1, &[(0, u64::MAX)]), Vec::<String>::new());
    assert_eq!(
        story.ask_as(2, group(), Mode::Exclusive, (500, 600), None, false),
        ["c2: grant 2 exclusive [500, 600)"]
    );
    story.ack(1, group(), 1, &[(10, u64::MAX)]);
    assert_eq!(
        story.table(),
        ["[0, 100) exclusive [group-1]", "[100, 200) exclusive [client-3]", "[200, ∞) exclusive [group-1]"]
    );
}

#[test]
fn readers_share_and_a_writer_keeps_reading() {
    let mut story = Story::new(&[1, 2, 3], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    assert_eq!(story.ask_exactly(2, Mode::Shared, (0, 10)), ["c1: revoke 1 [0, 10) to shared after 0"]);
    // A second reader is not behind the first one, and needs no second revoke of the same bytes.
    assert_eq!(story.ask_exactly(3, Mode::Shared, (0, 10)), Vec::<String>::new());
    assert_eq!(story.ack(1, own(1), 1, &[(0, 10)]), ["c2: grant 1 shared [0, 10)", "c3: grant 1 shared [0, 10)"]);
    assert_eq!(story.table(), ["[0, 10) shared [client-1, client-2, client-3]", "[10, ∞) exclusive [client-1]"]);
}

#[test]
fn two_readers_that_upgrade_take_turns() {
    let mut story = Story::new(&[1, 2], false);
    story.ask_exactly(1, Mode::Shared, (0, 10));
    story.ask_exactly(2, Mode::Shared, (0, 10));
    assert_eq!(story.ask_exactly(1, Mode::Exclusive, (0, 10)), ["c2: revoke 1 [0, 10) after 0"]);
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (0, 10)), Vec::<String>::new());
    assert_eq!(story.ack(2, own(2), 1, &[(0, 10)]), ["c1: grant 2 exclusive [0, 10)", "c1: revoke 2 [0, 10) after 0"]);
    assert_eq!(story.ack(1, own(1), 2, &[(0, 10)]), ["c2: grant 2 exclusive [0, 10)"]);
}

#[test]
fn requests_wait_in_order_and_only_behind_what_they_conflict_with() {
    let mut story = Story::new(&[1, 2, 3, 4], false);
    story.ask_exactly(1, Mode::Exclusive, (0, 100));
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (50, 150)), ["c1: revoke 1 [50, 100) after 0"]);
    // Bytes that are free, but that an earlier request waits for: behind it.
    assert_eq!(story.ask_exactly(3, Mode::Exclusive, (120, 130)), Vec::<String>::new());
    // Nobody's: at once.
    assert_eq!(story.ask_exactly(4, Mode::Exclusive, (200, 210)), ["c4: grant 1 exclusive [200, 210)"]);
    assert_eq!(
        story.ack(1, own(1), 1, &[(50, 100)]),
        ["c2: grant 1 exclusive [50, 150)", "c2: revoke 2 [120, 130) after 0"]
    );
}

#[test]
fn a_holder_that_wants_back_what_it_must_give_waits_its_turn() {
    let mut story = Story::new(&[1, 2], false);
    story.ask_exactly(1, Mode::Exclusive, (0, 100));
    story.ask_exactly(2, Mode::Exclusive, (0, 100));
    assert_eq!(story.ask_exactly(1, Mode::Exclusive, (0, 100)), Vec::<String>::new());
    assert_eq!(
        story.ack(1, own(1), 1, &[(0, 100)]),
        ["c2: grant 1 exclusive [0, 100)", "c2: revoke 2 [0, 100) after 0"]
    );
}

#[test]
fn a_group_is_revoked_on_every_members_stream_and_names_the_collective_grant() {
    let mut story = Story::new(&[3], true);
    assert_eq!(
        story.ask_as(1, group(), Mode::Exclusive, (0, 100), Some(Extent::ALL), true),
        ["c1: collective grant 1 exclusive [0, ∞)"]
    );
    assert_eq!(
        story.ask(3, Mode::Exclusive, (0, 100)),
        ["c1: revoke 1 [0, 100) after 1", "c2: revoke 1 [0, 100) after 1"]
    );
    assert_eq!(story.ack(1, group(), 1, &[(0, 100)]), Vec::<String>::new());
    assert_eq!(story.ack(1, group(), 1, &[(0, 100)]), Vec::<String>::new(), "one member acks once");
    assert_eq!(story.ack(2, group(), 1, &[(0, 100)]), ["c3: grant 1 exclusive [0, 100)"]);
}

#[test]
fn a_dead_client_waits_for_nobody_and_nobody_waits_for_it() {
    let mut story = Story::new(&[1, 3, 4], true);
    story.ask_as(1, group(), Mode::Exclusive, (0, 100), None, false);
    story.ask_exactly(3, Mode::Exclusive, (0, 100));
    story.ask_exactly(4, Mode::Exclusive, (0, 100));
    story.ack(2, group(), 1, &[(0, 100)]);
    story.manager.remove_client(client(3));
    assert_eq!(story.told(), Vec::<String>::new(), "c4 moves up, and waits for the same ack of c1");
    story.manager.remove_client(client(1));
    assert_eq!(story.told(), ["c4: grant 1 exclusive [0, 100)"]);
    story.manager.remove_client(client(2));
    assert_eq!(story.table(), ["[0, 100) exclusive [client-4]"]);
}

#[test]
fn the_last_close_frees_everything() {
    let mut story = Story::new(&[1, 1, 2], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    story.ask_exactly(2, Mode::Shared, (0, 10));
    story.manager.close(own(1), file(), open(1));
    story.manager.close(own(1), file(), open(1));
    assert_eq!(story.told(), Vec::<String>::new(), "c1 has it open a second time");
    story.manager.close(own(1), file(), open(2));
    assert_eq!(story.told(), ["c2: grant 1 shared [0, 10)"]);
}

#[test]
fn the_server_takes_a_range_for_itself_and_everybody_waits_until_it_is_done() {
    let mut story = Story::new(&[1, 2], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    story.manager.acquire_for_manager(9, file(), Extent::from(5));
    assert_eq!(story.told(), ["c1: revoke 1 [5, ∞) after 0"]);
    assert_eq!(story.ack(1, own(1), 1, &[(5, u64::MAX)]), ["server: 9 granted"]);
    assert_eq!(story.ask_exactly(2, Mode::Shared, (7, 8)), Vec::<String>::new());
    assert_eq!(story.ask_exactly(1, Mode::Exclusive, (0, 5)), ["c1: grant 2 exclusive [0, 5)"]);
    story.manager.release_for_manager(9, file());
    assert_eq!(story.told(), ["c2: grant 1 shared [7, 8)"]);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut story = Story::new(&[1, 2], false);
    let refused = story.ask(3, Mode::Shared, (0, 1));
    assert_eq!(refused, ["c3: client-3 has file-1 not open for client-3; open the file before asking for its tokens"]);
    let refused = story.ask_as(2, own(1), Mode::Shared, (0, 1), None, false);
    assert_eq!(refused, ["c2: client-1 has file-1 not open for client-2; open the file before asking for its tokens"]);
    story.last_request = 1;
    assert_eq!(
        story.ask(2, Mode::Shared, (0, 1)),
        ["c2: request-2 was used before in this session, or is far below the largest; each number is used once"]
    );
    assert!(story.table().is_empty());
}

/// Threads of a client take their numbers in one order and may send in another.
#[test]
fn numbers_of_requests_may_come_out_of_order() {
    let mut story = Story::new(&[1, 2], false);
    story.last_request = 7;
    assert_eq!(story.ask_exactly(1, Mode::Shared, (0, 1)), ["c1: grant 1 shared [0, 1)"]);
    story.last_request = 6;
    assert_eq!(story.ask_exactly(1, Mode::Shared, (5, 6)), ["c1: grant 2 shared [5, 6)"]);
    story.last_request = 10_000;
    assert_eq!(story.ask_exactly(1, Mode::Shared, (8, 9)), ["c1: grant 3 shared [8, 9)"]);
    story.last_request = 8;
    assert!(story.ask_exactly(1, Mode::Shared, (9, 10))[0].starts_with("c1: request-9 was used before"));
}

/// All of a file with its open.
fn with_open(story: &mut Story, number: u64, holder: Holder, mode: Mode) -> Option<Grant> {
    story.last_request += 1;
    let request = RequestId::new(story.last_request).unwrap();
    story.manager.grant_with_open(client(number), request, holder, file(), mode)
}

#[test]
fn an_open_brings_all_of_a_file_that_nobody_else_has_open() {
    let mut story = Story::new(&[1], false);
    let grant = with_open(&mut story, 1, own(1), Mode::Shared).unwrap();
    assert_eq!((grant.ranges, grant.mode, grant.sequence), (vec![Extent::ALL], Mode::Shared, 1));
    assert!(with_open(&mut story, 1, own(1), Mode::Exclusive).is_none(), "it has something already");
    assert_eq!(story.told(), Vec::<String>::new(), "whoever asked for it sends it");
    // It gives way like any other.
    story.manager.open(own(2), file(), open(2));
    assert!(with_open(&mut story, 2, own(2), Mode::Shared).is_none(), "somebody else has it open");
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (3, 4)), ["c1: revoke 1 [3, 4) after 0"]);
}

#[test]
fn an_open_brings_nothing_where_that_could_hurt() {
    let mut of_group = Story::new(&[], true);
    assert!(with_open(&mut of_group, 1, group(), Mode::Shared).is_none(), "the other member would not know");
    let mut taken = Story::new(&[1], false);
    taken.manager.acquire_for_manager(9, file(), Extent::from(5));
    assert!(with_open(&mut taken, 1, own(1), Mode::Shared).is_none(), "the server is at work on it");
    taken.manager.release_for_manager(9, file());
    assert!(with_open(&mut taken, 2, own(1), Mode::Shared).is_none(), "it is another client's");
    assert!(with_open(&mut taken, 1, own(1), Mode::Shared).is_some());
    let mut grace = TokenManager::in_grace(Boot::new(2).unwrap());
    grace.add_client(client(1));
    grace.open(own(1), file(), open(1));
    let request = RequestId::new(1).unwrap();
    assert!(grace.grant_with_open(client(1), request, own(1), file(), Mode::Shared).is_none(), "not all have spoken");
    grace.end_grace();
    assert!(
        grace.grant_with_open(client(1), request, own(1), file(), Mode::Shared).is_some(),
        "its number is still new"
    );
}

#[test]
fn too_many_ranges_become_their_hull_if_that_hurts_nobody() {
    let mut story = Story::new(&[1, 2], false);
    let mut many = |from: u64| {
        story.last_request += 1;
        let required = vec![RangePattern::new(0, 1, 10, 70_000).unwrap()];
        let request = RequestId::new(story.last_request).unwrap();
        let (holder, mode) = (own(from), Mode::Exclusive);
        let acquire = Acquire { request, holder, file: file(), mode, required, desired: None, collective: false };
        story.manager.handle_acquire(client(from), acquire);
        story.told()
    };
    assert_eq!(many(1), ["c1: grant 1 exclusive [0, 699991)"]);
    assert!(many(2)[0].starts_with("c2: a token request with 70000 ranges is more than the 65536"));
}

/// Every second byte one by one: the table must not grow without bound, so gaps that nobody wants are filled.
#[test]
fn the_number_of_ranges_of_one_holder_is_bounded() {
    let mut story = Story::new(&[1, 2], false);
    story.ask_exactly(2, Mode::Exclusive, (1 << 40, (1 << 40) + 1));
    for number in 0..70_000 {
        story.ask_exactly(1, Mode::Exclusive, (2 * number, 2 * number + 1));
    }
    let ranges = story.manager.tokens(file()).len() as u64;
    assert!(ranges <= pfs_core::token::RANGES_PER_HOLDER_MAX, "{ranges} ranges");
}

#[test]
fn ranges_given_back_unasked_are_free() {
    let mut story = Story::new(&[1, 2], false);
    story.ask(1, Mode::Exclusive, (0, 10));
    let range = Extent::from(100);
    let late = Release { holder: own(1), file: file(), range, last_grant_sequence: 0 };
    story.manager.handle_release(client(1), &late);
    assert_eq!(story.table(), ["[0, ∞) exclusive [client-1]"], "a newer grant is on its way");
    story.manager.handle_release(client(1), &Release { last_grant_sequence: 1, ..late });
    assert_eq!(story.table(), ["[0, 100) exclusive [client-1]"]);
}

// ---- Sets: one client asks for several (rule 12)

/// c1 and c2 are together in a group, and have the file open for themselves, as have c3 and c4.
fn atomic() -> Story {
    Story::new(&[1, 2, 3, 4], true)
}

#[test]
fn a_set_is_granted_to_all_its_holders_in_one_decision() {
    let mut story = atomic();
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]),
        ["c1: grant of client-1's set 1 exclusive [0, 10)", "c2: grant of client-1's set 1 exclusive [10, 20)"]
    );
    assert_eq!(story.table(), ["[0, 10) exclusive [client-1]", "[10, 20) exclusive [client-2]"]);
    // The numbers of a holder's grants go on, whoever has asked.
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (10, 30)), ["c2: grant 2 exclusive [10, 30)"]);
}

#[test]
fn a_set_waits_until_all_of_it_can_be_granted() {
    let mut story = atomic();
    story.ask_exactly(3, Mode::Exclusive, (5, 8));
    story.ask_exactly(4, Mode::Exclusive, (12, 15));
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]),
        ["c3: revoke 1 [5, 8) after 0", "c4: revoke 2 [12, 15) after 0"]
    );
    assert_eq!(story.ack(3, own(3), 1, &[(5, 8)]), Vec::<String>::new(), "the other half is not free");
    assert_eq!(story.ask_exactly(3, Mode::Exclusive, (5, 8)), Vec::<String>::new(), "behind the set");
    assert_eq!(
        story.ack(4, own(4), 2, &[(12, 15)]),
        [
            "c1: grant of client-1's set 1 exclusive [0, 10)",
            "c2: grant of client-1's set 1 exclusive [10, 20)",
            "c1: revoke 3 [5, 8) after 0"
        ]
    );
}

/// Each rank has what the other one's part needs: both give way, and the set does not wait for itself.
#[test]
fn a_sets_own_holders_give_way_to_each_other() {
    let mut story = atomic();
    story.ask_exactly(1, Mode::Exclusive, (10, 30));
    story.ask_exactly(2, Mode::Exclusive, (0, 10));
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]),
        ["c1: revoke 1 [10, 20) after 0", "c2: revoke 2 [0, 10) after 0"]
    );
    assert_eq!(story.ack(1, own(1), 1, &[(10, 20)]), Vec::<String>::new());
    assert_eq!(
        story.ack(2, own(2), 2, &[(0, 10)]),
        ["c1: grant of client-1's set 2 exclusive [0, 10)", "c2: grant of client-1's set 2 exclusive [10, 20)"]
    );
    assert_eq!(
        story.table(),
        ["[0, 10) exclusive [client-1]", "[10, 20) exclusive [client-2]", "[20, 30) exclusive [client-1]"]
    );
}

/// What a holder has of its own part stays with it while the other part is waited for.
#[test]
fn own_ranges_in_a_set_are_not_revoked() {
    let mut story = atomic();
    story.ask_exactly(1, Mode::Exclusive, (0, 10));
    story.ask_exactly(3, Mode::Shared, (10, 20));
    assert_eq!(
        story.ask_set(2, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]),
        ["c3: revoke 1 [10, 20) after 0"]
    );
    // It can have more of what is its own, at once.
    assert_eq!(story.ask_exactly(1, Mode::Exclusive, (5, 10)), ["c1: grant 2 exclusive [5, 10)"]);
}

#[test]
fn the_parts_of_a_set_that_only_reads_may_overlap() {
    let mut story = atomic();
    assert_eq!(
        story.ask_set(1, Mode::Shared, &[(own(1), (0, 20)), (own(2), (10, 30))]),
        ["c1: grant of client-1's set 1 shared [0, 20)", "c2: grant of client-1's set 1 shared [10, 30)"]
    );
}

#[test]
fn a_set_that_makes_no_sense_is_refused_and_changes_nothing() {
    let mut story = atomic();
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 11)), (own(2), (10, 20))]),
        ["c1: the parts of client-1 and client-2 in one token request overlap; a set must not conflict with itself"]
    );
    assert_eq!(
        story.ask_set(1, Mode::Shared, &[(own(2), (0, 10)), (own(2), (20, 30))]),
        ["c1: the parts of client-2 and client-2 in one token request overlap; a set must not conflict with itself"]
    );
    assert_eq!(story.ask_set(1, Mode::Exclusive, &[]), ["c1: a token request must name at least one range"]);
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(3), (10, 20))]),
        ["c1: client-1 may not ask for tokens of client-3: they have no group of the file in common"]
    );
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(group(), (10, 20))]),
        ["c1: client-1 may not ask for tokens of group-1: they have no group of the file in common"]
    );
    story.manager.close(own(2), file(), open(2));
    assert_eq!(
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]),
        ["c1: client-2 has file-1 not open for client-1; open the file before asking for its tokens"]
    );
    assert!(story.table().is_empty());
    assert_eq!(story.manager.counters().waiting, 0);
}

/// A few bytes of patterns must not become lists without bound.
#[test]
fn too_many_ranges_in_a_set_become_hulls_if_that_hurts_nobody() {
    let mut story = atomic();
    let mut many = |start: u64| {
        story.last_request += 1;
        let required = |start| vec![RangePattern::new(start, 1, 10, 40_000).unwrap()];
        let parts = vec![
            SetPart { holder: own(1), required: required(0) },
            SetPart { holder: own(2), required: required(start) },
        ];
        let request = RequestId::new(story.last_request).unwrap();
        story.manager.handle_acquire_set(client(1), AcquireSet { request, file: file(), mode: Mode::Exclusive, parts });
        story.told()
    };
    assert!(many(1)[0].starts_with("c1: a token request with 80000 ranges is more than the 65536"));
    assert_eq!(
        many(1_000_000),
        [
            "c1: grant of client-1's set 1 exclusive [0, 399991)",
            "c2: grant of client-1's set 1 exclusive [1000000, 1399991)"
        ]
    );
}

#[test]
fn a_set_that_waits_can_be_cancelled() {
    let mut story = atomic();
    story.ask_exactly(3, Mode::Exclusive, (0, 20));
    story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]);
    let set = RequestId::new(story.last_request).unwrap();
    assert_eq!(story.ask_exactly(4, Mode::Exclusive, (15, 30)), Vec::<String>::new(), "behind the set");
    story.manager.handle_cancel(client(2), set);
    assert_eq!(story.told(), Vec::<String>::new(), "it is not c2's request");
    story.manager.handle_cancel(client(1), set);
    assert_eq!(story.told(), ["c1: the token request was cancelled"], "c4 waits for the revoke under way");
    assert_eq!(story.ack(3, own(3), 1, &[(0, 20)]), ["c4: grant 1 exclusive [15, 30)"]);
}

#[test]
fn a_set_dies_with_its_asker_and_is_refused_when_a_part_has_lost_its_holder() {
    for (gone, told) in [(1, None), (2, Some("c1: the token request was cancelled"))] {
        let mut story = atomic();
        story.ask_exactly(3, Mode::Exclusive, (0, 20));
        story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]);
        story.manager.remove_client(client(gone));
        assert_eq!(story.told(), told.into_iter().collect::<Vec<_>>());
        assert_eq!(story.manager.counters().waiting, 0);
    }
    let mut story = atomic();
    story.ask_exactly(3, Mode::Exclusive, (0, 20));
    story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]);
    story.manager.close(own(2), file(), open(2));
    assert_eq!(story.told(), ["c1: the token request was cancelled"]);
}

/// Two sets that want the same bytes crosswise: the first one is granted whole, then the second one.
#[test]
fn sets_that_cross_do_not_wait_for_each_other() {
    let mut story = atomic();
    story.ask_exactly(3, Mode::Exclusive, (0, 20));
    let revokes = story.ask_set(1, Mode::Exclusive, &[(own(1), (0, 10)), (own(2), (10, 20))]);
    assert_eq!(revokes, ["c3: revoke 1 [0, 20) after 0"]);
    assert_eq!(story.ask_set(2, Mode::Exclusive, &[(own(2), (0, 10)), (own(1), (10, 20))]), Vec::<String>::new());
    assert_eq!(
        story.ack(3, own(3), 1, &[(0, 20)]),
        [
            "c1: grant of client-1's set 1 exclusive [0, 10)",
            "c2: grant of client-1's set 1 exclusive [10, 20)",
            "c1: revoke 2 [0, 10) after 0",
            "c2: revoke 3 [10, 20) after 0"
        ]
    );
    story.ack(2, own(2), 3, &[(10, 20)]);
    assert_eq!(
        story.ack(1, own(1), 2, &[(0, 10)]),
        ["c2: grant of client-2's set 2 exclusive [0, 10)", "c1: grant of client-2's set 2 exclusive [10, 20)"]
    );
}

// ---- After a restart (rule 18)

#[test]
fn a_group_has_again_what_any_of_its_members_says() {
    let mut story = Story::in_grace();
    assert_eq!(story.reassert(1, group(), &[100], &[(0, 10, Mode::Exclusive)]), "taken over");
    let more = [(5, 8, Mode::Shared), (8, 20, Mode::Exclusive), (30, 40, Mode::Shared)];
    assert_eq!(story.reassert(2, group(), &[100], &more), "taken over");
    assert_eq!(story.reassert(3, own(3), &[3], &[(35, 50, Mode::Shared)]), "taken over");
    story.manager.end_grace();
    assert_eq!(
        story.table(),
        [
            "[0, 20) exclusive [group-1]",
            "[30, 35) shared [group-1]",
            "[35, 40) shared [client-3, group-1]",
            "[40, 50) shared [client-3]"
        ]
    );
    let asked = story.ask_exactly(3, Mode::Shared, (15, 18));
    assert_eq!(asked, ["c1: revoke 1 [15, 18) to shared after 0", "c2: revoke 1 [15, 18) to shared after 0"]);
    assert_eq!(
        story.manager.exclusive_clients(file()),
        [client(1), client(2)],
        "it may have written before the restart"
    );
}

#[test]
fn what_cannot_be_true_is_not_taken_over() {
    let mut story = Story::in_grace();
    story.reassert(1, own(1), &[1], &[(0, 10, Mode::Exclusive)]);
    assert_eq!(
        story.reassert(2, own(2), &[2], &[(20, 30, Mode::Shared), (5, 15, Mode::Shared)]),
        "client-2 says that it holds [5, 10) of file-1, which others hold; its tokens are void"
    );
    assert_eq!(story.table(), ["[0, 10) exclusive [client-1]"], "nothing of it");
    let not_open = "has file-1 not open for client-3; open the file before asking for its tokens";
    assert_eq!(story.reassert(3, group(), &[100], &[]), format!("group-1 {not_open}"), "it is not a member");
    assert_eq!(story.reassert(3, own(4), &[4], &[]), format!("client-4 {not_open}"));
    assert_eq!(story.reassert(3, own(3), &[], &[(50, 60, Mode::Shared)]), format!("client-3 {not_open}"));
}

#[test]
fn requests_wait_for_the_end_of_the_grace_and_are_granted_in_their_order() {
    let mut story = Story::in_grace();
    story.reassert(1, own(1), &[1], &[(0, 10, Mode::Exclusive)]);
    story.reassert(2, own(2), &[2], &[]);
    story.reassert(3, own(3), &[3], &[]);
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (100, 110)), Vec::<String>::new());
    assert_eq!(story.ask_exactly(3, Mode::Exclusive, (105, 120)), Vec::<String>::new());
    assert_eq!(story.ask_exactly(2, Mode::Exclusive, (5, 15)), Vec::<String>::new());
    story.manager.acquire_for_manager(7, file(), Extent::from(1000));
    let cancelled = story.ask_exactly(3, Mode::Shared, (200, 210));
    assert_eq!(cancelled, Vec::<String>::new());
    story.manager.handle_cancel(client(3), RequestId::new(story.last_request).unwrap());
    assert_eq!(story.told(), ["c3: the token request was cancelled"]);
    // c4 is late, with what c2's request needs.
    story.reassert(4, own(4), &[4], &[(12, 14, Mode::Shared)]);
    story.manager.end_grace();
    assert_eq!(
        story.told(),
        [
            "c2: grant 1 exclusive [100, 110)",
            "c2: revoke 1 [105, 110) after 0",
            "c1: revoke 2 [5, 10) after 0",
            "c4: revoke 3 [12, 14) after 0",
            "server: 7 granted"
        ]
    );
}

/// c1 asks for all before c2 has said that it is there; c3 does not come.
#[test]
fn sets_in_the_grace_wait_for_their_holders() {
    let mut story = Story::in_grace();
    story.reassert(1, group(), &[100], &[]);
    story.reassert(1, own(1), &[1], &[]);
    let parts = |other: u64| [(own(1), (0, 10)), (own(other), (10, 20))];
    assert_eq!(story.ask_set(1, Mode::Exclusive, &parts(2)), Vec::<String>::new());
    story.reassert(2, group(), &[100], &[]);
    story.reassert(2, own(2), &[2], &[(15, 16, Mode::Exclusive)]);
    story.manager.end_grace();
    assert_eq!(
        story.told(),
        ["c1: grant of client-1's set 1 exclusive [0, 10)", "c2: grant of client-1's set 1 exclusive [10, 20)"]
    );

    let mut story = Story::in_grace();
    story.reassert(1, group(), &[100], &[]);
    story.reassert(1, own(1), &[1], &[]);
    assert_eq!(story.ask_set(1, Mode::Exclusive, &parts(2)), Vec::<String>::new());
    story.manager.end_grace();
    assert_eq!(story.told(), ["c1: the token request was cancelled"]);
}

/// c2 died while the server was down. Its group must not wait for its acks for ever.
#[test]
fn members_that_never_come_back_are_not_waited_for() {
    let mut story = Story { manager: TokenManager::in_grace(Boot::new(2).unwrap()), last_request: 0 };
    [1, 3].into_iter().for_each(|number| story.manager.add_client(client(number)));
    story.reassert(1, group(), &[100], &[(0, 10, Mode::Exclusive)]);
    story.reassert(3, own(3), &[3], &[]);
    assert_eq!(story.manager.members(group()), [client(1)]);
    story.manager.end_grace();
    assert_eq!(story.ask_exactly(3, Mode::Exclusive, (0, 10)), ["c1: revoke 1 [0, 10) after 0"]);
    assert_eq!(story.ack(1, group(), 1, &[(0, 10)]), ["c3: grant 1 exclusive [0, 10)"]);
}

/// c1 has closed the file for the group; c2 speaks later and has not heard of it.
#[test]
fn what_was_closed_in_the_grace_stays_closed() {
    let mut story = Story::in_grace();
    story.reassert(1, group(), &[100], &[(0, 10, Mode::Exclusive)]);
    story.manager.close(group(), file(), open(100));
    assert_eq!(story.reassert(2, group(), &[100], &[(0, 10, Mode::Exclusive)]), "taken over");
    story.manager.end_grace();
    assert!(story.table().is_empty());
    story.reassert(3, own(3), &[3], &[]);
    assert_eq!(story.ask_exactly(3, Mode::Exclusive, (0, 10)), ["c3: grant 1 exclusive [0, 10)"]);
}

/// A holder may know its ranges in smaller pieces than the manager did, but not in any number.
#[test]
fn the_number_of_ranges_that_are_taken_over_is_bounded() {
    let mut story = Story::in_grace();
    let pieces = |from: u64, count: u64| -> Vec<(u64, u64, Mode)> {
        (from..from + count).map(|n| (2 * n, 2 * n + 1, Mode::Exclusive)).collect()
    };
    assert_eq!(story.reassert(1, own(1), &[1], &pieces(0, 100_000)), "taken over");
    assert!(
        story.reassert(1, own(1), &[1], &pieces(100_000, 200_000)).contains("300000 ranges is more than the 262144")
    );
    story.manager.end_grace();
    assert_eq!(story.told(), ["c1: revoke 1 [0, 100001) after 0"], "too many: half of them is taken back");
    story.ack(1, own(1), 1, &[(0, 100_001)]);
    assert_eq!(story.manager.tokens(file()).len(), 49_999);
}

/// What the manager gives a holder to have fewer ranges is named in the grant, so that the holder has fewer too.
#[test]
fn a_holder_is_told_which_gaps_were_filled() {
    let mut story = Story::in_grace();
    let pieces: Vec<_> = (0..65_536).map(|n| (2 * n, 2 * n + 1, Mode::Exclusive)).collect();
    story.reassert(1, own(1), &[1], &pieces);
    story.reassert(2, own(2), &[2], &[(11, 12, Mode::Shared)]);
    story.manager.end_grace();
    let told = story.ask_exactly(1, Mode::Exclusive, (1_000_000, 1_000_001));
    assert!(told[0].starts_with("c1: grant 1 exclusive [1, 2) [3, 4) [5, 6) [7, 8) [9, 10) [13, 14)"));
    assert!(told[0].ends_with("[131071, 1000001)"), "{}", &told[0][told[0].len() - 100..]);
    assert_eq!(
        story.table(),
        ["[0, 11) exclusive [client-1]", "[11, 12) shared [client-2]", "[12, 1000001) exclusive [client-1]"]
    );
}

/// Rules 12, 18: a rank that has abandoned a set does not get its part from a restarted manager either, where nobody would
/// claim it.
#[test]
fn an_abandoned_set_stays_abandoned_over_a_restart() {
    let (holder, boot) = (own(2), |number| Boot::new(number).unwrap());
    let mut tokens = TokenHolder::new(holder, file(), boot(1), FileSize { generation: 1, bytes: 0 }, true);
    let request = RequestId::new(7).unwrap();
    let set = SetId { client: client(1), request };
    let next = || RequestId::new(1).unwrap();
    tokens.abandon_set(set, next);
    tokens.reassert();
    tokens.resumed(boot(2), next);
    let ranges = vec![Extent::new(0, 10).unwrap()];
    let (mode, file, boot) = (Mode::Exclusive, file(), boot(2));
    let set = Some(set);
    let grant = Grant { request, holder, file, mode, ranges, sequence: 1, boot, collective: false, set };
    tokens.handle_set_grant(&grant);
    let (revoke, range) = (RevokeId::new(3).unwrap(), Extent::new(0, 5).unwrap());
    tokens.handle_revoke(Revoke { revoke, holder, file, range, wanted: range, downgrade: false, covers_sequence: 0 });
    let action = tokens.poll_action();
    assert!(matches!(action, Some(HolderAction::WriteBack { .. })), "nothing is in its way: {action:?}");
}
