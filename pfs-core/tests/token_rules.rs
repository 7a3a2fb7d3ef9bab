//! One small story for each rule of the token manager, told as the messages that it sends.
//!
//! `c1`… are clients, `g1` is a group of c1 and c2. A line is `to: message`; ranges are in bytes.

use pfs_core::extent::Extent;
use pfs_core::ids::{Boot, ClientId, FileId, GroupId, Holder, OpenId, RequestId, RevokeId};
use pfs_core::pattern::RangePattern;
use pfs_core::token::manager::{ManagerAction, TokenManager};
use pfs_core::token::message::{Ack, Acquire, Mode, Release};

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

    fn told(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(action) = self.manager.poll_action() {
            lines.push(match action {
                ManagerAction::Grant { to, grant } => {
                    let ranges: Vec<String> = grant.ranges.iter().map(Extent::to_string).collect();
                    let kind = if grant.collective { "collective grant" } else { "grant" };
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
    story.last_request = 0;
    assert_eq!(
        story.ask(2, Mode::Shared, (0, 1)),
        ["c2: request-1 was used before in this session; request ids must increase"]
    );
    assert!(story.table().is_empty());
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
