//! Who has which session, and who may have the next: the pool's book-keeping, without any waiting.

mod guests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::guests::Given;
use self::guests::Guests;
use super::config::ImapSettings;
use super::pool::Holds;
use super::turns::{Bounds as TurnBounds, Turns};
use crate::env::Tick;
use crate::imap::Session;
use crate::limit::machine::{Bounds, Ended, Learner};

/// After a server took no more connections, one more is tried after this, and if it is taken, twice as many after that.
const GROW: Duration = Duration::from_secs(120);

/// Calls at once when nothing is known of the host yet.
const FIRST: u32 = 16;
/// However slow it is, so many go on: fewer would starve.
const LEAST: u32 = 4;
/// Larger fetches are compared by the time they take for so many bytes.
const UNIT: u64 = 512 << 10;
/// Up to so many bytes the time of a fetch is that of its round trip.
const SMALL: u64 = 64 << 10;
/// A mailbox whose turn it is to fetch keeps its session for so many grace times while others want one.
const IN_TURN: u32 = 10;
/// Of the connections, one of so many is left to those who list folders and have no turn.
const LISTING: usize = 8;

/// What a caller may do now.
#[derive(Debug)]
pub(super) enum Call {
    /// Go on with its own session, which lay idle so long.
    Resume { place: u64, session: Arc<Session>, idle: Duration },
    /// Log in; a session of another was ended for it, if one is given.
    LogIn { place: u64, evicted: Option<Arc<Session>> },
    /// Wait until one of its own sessions is free, or made.
    WaitForOwn,
    /// Wait in line for a place, at most until then.
    Wait(Option<Tick>),
}

/// A connection to the endpoint, or one being made or ended.
#[derive(Debug)]
struct Place {
    number: u64,
    owner: u64,
    session: Option<Arc<Session>>,
    /// A call holds it.
    held: bool,
    /// Since when nobody holds it.
    since: Tick,
    /// A call on it was abandoned: nobody may begin another.
    spoilt: bool,
}

/// How the fetch of a call ended, as the host's load is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub sent: Tick,
    pub bytes: u64,
    pub how: Ended,
}

impl Place {
    fn is_idle(&self) -> bool {
        !self.held && self.session.is_some()
    }

    fn is_usable(&self) -> bool {
        !self.spoilt && self.session.as_ref().is_some_and(|s| !s.is_broken())
    }

    fn take(&mut self, now: Tick) -> Option<Call> {
        let session = self.session.clone()?;
        self.held = true;
        Some(Call::Resume { place: self.number, session, idle: now.saturating_sub(self.since) })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Places {
    places: Vec<Place>,
    numbers: u64,
    owners: u64,
    next_login: Tick,
    most: usize,
    each: usize,
    grace: Duration,
    /// How many the server took, and when it took no more.
    taken: Option<(usize, Tick)>,
    /// Calls at once, as many as the host was found to answer without getting slow.
    learner: Learner,
    /// Whose turn it is to fetch.
    pub turns: Turns,
    /// Mailboxes whose second session it refused, and when.
    single: BTreeMap<u64, Tick>,
    /// Another process, to which places are lent.
    guests: Guests,
}

impl Places {
    pub fn new(settings: &ImapSettings) -> Places {
        let most = u32::try_from(settings.server.max_connections).unwrap_or(u32::MAX).max(1);
        let bounds = Bounds { least: LEAST.min(most), most, first: FIRST.min(most) };
        Places {
            learner: Learner::new(bounds),
            places: Vec::new(),
            numbers: 0,
            owners: 0,
            next_login: Tick::ZERO,
            most: settings.server.max_connections,
            each: settings.connections_per_mailbox,
            grace: settings.server.idle_grace,
            taken: None,
            turns: Turns::default(),
            single: BTreeMap::new(),
            guests: Guests::new(settings.server.max_connections),
        }
    }

    /// A number for one more mailbox.
    pub fn owner(&mut self) -> u64 {
        self.owners += 1;
        self.owners
    }

    /// When the next login may begin.
    pub fn next_login(&mut self, now: Tick, interval: Duration) -> Tick {
        let at = self.next_login.max(now);
        self.next_login = at + interval;
        at
    }

    /// Connections at once, now: the operator's limit, or what the server was found to take.
    fn cap(&self, now: Tick) -> usize {
        let Some((taken, at)) = self.taken else { return self.most };
        // One more at first, then as many more as were taken since, and one: a host that takes thirty again is not found out
        // about for an hour, and one that does not refuses hardly more for it.
        let grown = u32::try_from(now.saturating_sub(at).as_secs() / GROW.as_secs()).unwrap_or(u32::MAX);
        let more = 1usize.checked_shl(grown).map_or(usize::MAX, |twice| twice - 1);
        taken.saturating_add(more).min(self.most)
    }

    /// Sessions of one mailbox at once, now.
    fn cap_of(&self, owner: u64, now: Tick) -> usize {
        match self.single.get(&owner) {
            Some(at) if now.saturating_sub(*at) < GROW => 1,
            _ => self.each,
        }
    }

    fn held(&self) -> usize {
        self.places.iter().filter(|p| p.held).count()
    }

    /// What a fetch told of the host: before its place is left.
    pub fn told(&mut self, now: Tick, told: Told) {
        let Told { sent, bytes, how } = told;
        let under_way = self.held();
        // The time of a large one grows with its size; what is compared is the time of a unit.
        let took = now.saturating_sub(sent);
        let (bytes, took) =
            if bytes > SMALL { (UNIT, took.mul_f64(UNIT as f64 / bytes as f64)) } else { (SMALL, took) };
        self.learner.took(now, (sent, took), bytes, under_way, how);
    }

    /// How many may have a turn, now, and for how long without fetching: fewer than there are connections, so that whoever
    /// has one has a session too, or gets one at once.
    pub fn turn_bounds(&self, now: Tick) -> TurnBounds {
        let cap = self.cap(now);
        TurnBounds { most: (cap - cap / LISTING).max(1), grace: self.grace }
    }

    /// What a call of `owner` may do now. `first`: nobody stands before it in the line for a place. Whoever holds memory
    /// need not wait for those who wait for it.
    pub fn call(&mut self, owner: u64, now: Tick, first: bool, holds: Holds) -> Call {
        if self.held() >= self.learner.limit() {
            return Call::Wait(None); // a session that lies idle costs the host little; a call does not
        }
        let idle = self.places.iter_mut().find(|p| p.owner == owner && !p.held && p.is_usable());
        if let Some(resume) = idle.and_then(|p| p.take(now)) {
            return resume;
        }
        let is_own = |p: &&Place| p.owner == owner && !p.spoilt && (p.held || p.is_usable());
        let own = self.places.iter().filter(is_own).count();
        if own == 0 && !first {
            return Call::Wait(None);
        }
        self.places.retain(|p| p.held || p.is_usable());
        let cap = self.cap(now);
        let free = self.places.len() < cap;
        let more = first && free && own < self.cap_of(owner, now);
        if own > 0 && !more {
            return Call::WaitForOwn;
        }
        if own > 0 && self.places.iter().any(|p| p.owner == owner && p.session.is_none()) {
            return Call::WaitForOwn; // one is being made
        }
        if free {
            return Call::LogIn { place: self.begin(owner), evicted: None };
        }
        let until = |p: &Place| {
            let in_turn = holds == Holds::Nothing && self.turns.is_on(p.owner);
            p.since + if in_turn { self.grace * IN_TURN } else { self.grace }
        };
        let idle = self.places.iter().enumerate().filter(|(_, p)| p.is_idle());
        match idle.map(|(at, p)| (at, until(p))).min_by_key(|(_, until)| *until) {
            None => Call::Wait(None),
            Some((_, until)) if now < until => Call::Wait(Some(until)),
            Some((at, _)) => {
                let evicted = self.places.remove(at).session;
                if self.places.len() < cap {
                    return Call::LogIn { place: self.begin(owner), evicted };
                }
                // There are more than the server takes: one goes and none comes.
                self.call(owner, now, first, holds)
            }
        }
    }

    fn begin(&mut self, owner: u64) -> u64 {
        self.numbers += 1;
        self.places.push(Place {
            number: self.numbers,
            owner,
            session: None,
            held: true,
            since: Tick::ZERO,
            spoilt: false,
        });
        self.numbers
    }

    fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|p| p.number == number)
    }

    /// A login succeeded.
    pub fn made(&mut self, number: u64, session: Arc<Session>) {
        if let Some(place) = self.place(number) {
            place.session = Some(session);
        }
    }

    /// The server took no more connections. `false`: there is none of ours whose end would help.
    pub fn crowded(&mut self, owner: u64, now: Tick) -> bool {
        let under_way = self.held();
        self.learner.ended(now, now, 0, under_way, Ended::Refused);
        if self.places.iter().any(|p| p.owner == owner) {
            self.single.insert(owner, now);
            return true;
        }
        let others = self.places.len();
        if others > 0 {
            self.taken = Some((others, now));
        }
        others > 0
    }

    /// A call is over; `fit`: its session may be used for the next.
    pub fn leave(&mut self, number: u64, fit: bool, now: Tick) {
        if let Some(place) = self.place(number) {
            place.spoilt |= !fit;
            place.held = false;
            place.since = now;
        }
        self.hand_over(number, now);
        self.places.retain(|p| p.held || p.number != number || p.is_usable());
    }

    /// Takes an idle session of a mailbox; its place stays taken.
    pub fn take_idle(&mut self, owner: u64) -> Option<(u64, Arc<Session>)> {
        let place = self.places.iter_mut().find(|p| p.owner == owner && p.is_idle())?;
        place.held = true;
        place.spoilt = true;
        Some((place.number, place.session.take()?))
    }

    /// Closes the idle sessions of a mailbox.
    pub fn forget(&mut self, owner: u64) {
        self.places.retain(|p| p.owner != owner || !p.is_idle());
        self.single.remove(&owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::Credentials;
    use crate::imap::script::{on_a_runtime, session};

    pub(super) const SECOND: Tick = Tick::from_secs(1);

    pub(super) fn places(most: usize, each: usize) -> Places {
        let mut settings = ImapSettings::new("localhost", Credentials::Fixed { password: "x".into() });
        (settings.server.max_connections, settings.connections_per_mailbox) = (most, each);
        Places::new(&settings)
    }

    /// Takes a turn that is a login, which succeeds.
    pub(super) fn log_in(places: &mut Places, owner: u64, now: Tick) -> u64 {
        match places.call(owner, now, true, Holds::Nothing) {
            Call::LogIn { place, .. } => {
                places.made(place, Arc::new(session(Vec::new()).0));
                place
            }
            other => panic!("no login: {other:?}"),
        }
    }

    pub(super) fn resumed(call: Call) -> u64 {
        match call {
            Call::Resume { place, .. } => place,
            other => panic!("no session: {other:?}"),
        }
    }

    #[test]
    fn a_busy_mailbox_gets_more_sessions_while_places_are_free_and_each_call_has_its_own() {
        on_a_runtime(async {
            let mut places = places(3, 2);
            let first = log_in(&mut places, 1, SECOND);
            let second = log_in(&mut places, 1, SECOND);
            assert_ne!(first, second);
            assert!(
                matches!(places.call(1, SECOND, true, Holds::Nothing), Call::WaitForOwn),
                "no third session"
            );
            log_in(&mut places, 2, SECOND);
            assert!(matches!(places.call(3, SECOND, true, Holds::Nothing), Call::Wait(None)), "no place");
            places.leave(second, true, SECOND);
            assert_eq!(resumed(places.call(1, SECOND, true, Holds::Nothing)), second);
        });
    }

    #[test]
    fn whoever_is_not_first_in_line_takes_no_place_and_goes_on_with_its_own_session() {
        on_a_runtime(async {
            let mut places = places(3, 2);
            let first = log_in(&mut places, 1, SECOND);
            assert!(
                matches!(places.call(2, SECOND, false, Holds::Nothing), Call::Wait(None)),
                "there are places, for others"
            );
            assert!(
                matches!(places.call(1, SECOND, false, Holds::Nothing), Call::WaitForOwn),
                "no second one before others' first"
            );
            places.leave(first, true, SECOND);
            assert_eq!(resumed(places.call(1, SECOND, false, Holds::Nothing)), first);
        });
    }

    #[test]
    fn while_a_session_is_being_made_for_a_mailbox_its_other_calls_wait_for_it() {
        let mut places = places(3, 2);
        assert!(matches!(places.call(1, SECOND, true, Holds::Nothing), Call::LogIn { .. }));
        assert!(matches!(places.call(1, SECOND, true, Holds::Nothing), Call::WaitForOwn));
    }

    #[test]
    fn the_session_that_lay_idle_longest_makes_room_after_the_grace_time() {
        on_a_runtime(async {
            let mut places = places(2, 1);
            let places_of = [1, 2].map(|owner| log_in(&mut places, owner, SECOND));
            assert!(matches!(places.call(3, SECOND, true, Holds::Nothing), Call::Wait(None)));
            places.leave(places_of[1], true, SECOND);
            places.leave(places_of[0], true, 2 * SECOND);
            assert!(
                matches!(places.call(3, 2 * SECOND, true, Holds::Nothing), Call::Wait(Some(until)) if until == 3 * SECOND)
            );
            assert!(matches!(
                places.call(3, 3 * SECOND, true, Holds::Nothing),
                Call::LogIn { evicted: Some(_), .. }
            ));
            assert_eq!(resumed(places.call(1, 3 * SECOND, true, Holds::Nothing)), places_of[0]);
        });
    }

    #[test]
    fn a_mailbox_in_its_turn_keeps_its_session_from_those_who_hold_nothing_and_not_for_ever() {
        on_a_runtime(async {
            let mut places = places(1, 1);
            let first = log_in(&mut places, 1, SECOND);
            let bounds = places.turn_bounds(SECOND);
            places.turns.ask(1, SECOND, bounds, &mut Vec::new());
            places.leave(first, true, SECOND);
            let grace = places.grace;
            let later = SECOND + grace;
            let until = SECOND + grace * IN_TURN;
            assert!(
                matches!(places.call(2, later, true, Holds::Nothing), Call::Wait(Some(at)) if at == until)
            );
            assert!(matches!(
                places.call(2, until, true, Holds::Nothing),
                Call::LogIn { evicted: Some(_), .. }
            ));

            let mut places = self::places(1, 1);
            let first = log_in(&mut places, 1, SECOND);
            let bounds = places.turn_bounds(SECOND);
            places.turns.ask(1, SECOND, bounds, &mut Vec::new());
            places.leave(first, true, SECOND);
            assert!(matches!(
                places.call(2, later, true, Holds::Memory),
                Call::LogIn { evicted: Some(_), .. }
            ));
        });
    }

    #[test]
    fn an_abandoned_call_spoils_its_session_for_calls_to_come() {
        on_a_runtime(async {
            let mut places = places(2, 1);
            let first = log_in(&mut places, 1, SECOND);
            places.leave(first, false, SECOND);
            let second = log_in(&mut places, 1, SECOND);
            assert_ne!(first, second);
            places.leave(second, true, SECOND);
            assert_eq!(places.places.len(), 1, "the place of the first is free");
        });
    }

    #[test]
    fn what_the_server_takes_is_learnt_and_tried_again_after_minutes() {
        on_a_runtime(async {
            let mut places = places(8, 2);
            for owner in 1..=3 {
                log_in(&mut places, owner, SECOND);
            }
            assert!(places.crowded(4, SECOND));
            assert!(matches!(places.call(4, SECOND, true, Holds::Nothing), Call::Wait(None)));
            assert!(matches!(places.call(4, SECOND + GROW, true, Holds::Nothing), Call::LogIn { .. }));
            assert!(matches!(places.call(5, SECOND + GROW, true, Holds::Nothing), Call::Wait(None)));
            assert_eq!(places.cap(SECOND + 100 * GROW), 8);
        });
    }

    #[test]
    fn a_mailbox_refused_a_second_session_goes_on_with_its_first() {
        on_a_runtime(async {
            let mut places = places(8, 4);
            let first = log_in(&mut places, 1, SECOND);
            let Call::LogIn { place, .. } = places.call(1, SECOND, true, Holds::Nothing) else {
                panic!("no login")
            };
            places.leave(place, false, SECOND);
            assert!(places.crowded(1, SECOND));
            assert!(matches!(places.call(1, SECOND, true, Holds::Nothing), Call::WaitForOwn));
            places.leave(first, true, SECOND);
            assert_eq!(resumed(places.call(1, SECOND, true, Holds::Nothing)), first);
            log_in(&mut places, 2, SECOND);
            assert!(!places_after_all_left(places), "with none of ours there, waiting helps nobody");
        });
    }

    /// A host whose fetches take longer the more of them it has to do beyond `bears`: calls at once after so many rounds.
    fn learnt(places: &mut Places, now: &mut Tick, bears: usize, rounds: u32, how: Ended) -> usize {
        for _ in 0..rounds {
            let mut held = Vec::new();
            for owner in 1..=200 {
                match places.call(owner, *now, true, Holds::Nothing) {
                    Call::LogIn { place, .. } => {
                        places.made(place, Arc::new(session(Vec::new()).0));
                        held.push(place);
                    }
                    Call::Resume { place, .. } => held.push(place),
                    Call::Wait(_) | Call::WaitForOwn => {}
                }
            }
            let over = (held.len() as f64 / bears as f64).max(1.0);
            let sent = *now;
            *now += Duration::from_millis(400).mul_f64(over);
            for place in &held {
                // Half as large, half as long.
                let bytes = if place % 2 == 0 { 1 << 20 } else { 2 << 20 };
                let sent = if place % 2 == 0 { sent + (*now - sent) / 2 } else { sent };
                places.told(*now, Told { sent, bytes, how });
                places.leave(*place, true, *now);
            }
        }
        places.learner.limit()
    }

    #[test]
    fn calls_at_once_grow_while_the_host_is_calm_and_shrink_when_it_gets_slow_or_refuses() {
        on_a_runtime(async {
            let mut places = places(64, 1);
            let mut now = SECOND;
            assert_eq!(places.learner.limit(), 16, "at first");
            assert_eq!(learnt(&mut places, &mut now, 1000, 30, Ended::Served), 64, "it is calm");
            let slow = learnt(&mut places, &mut now, 8, 60, Ended::Served);
            assert!((4..=32).contains(&slow), "{slow} at once, of which it bears 8");
            let back = learnt(&mut places, &mut now, 1000, 400, Ended::Served);
            assert!(back > slow && back > 32, "{back} after it recovered");
            let refused = learnt(&mut places, &mut now, 1000, 60, Ended::Refused);
            assert!((4..=12).contains(&refused), "{refused} while it refuses");
        });
    }

    #[test]
    fn one_mailbox_whose_fetches_hang_holds_its_place_alone() {
        on_a_runtime(async {
            let mut places = places(8, 1);
            log_in(&mut places, 1, SECOND);
            let mut now = SECOND;
            for turn in 0..200u64 {
                let owner = 2 + turn % 7;
                now += Duration::from_millis(100);
                let place = match places.call(owner, now, true, Holds::Nothing) {
                    Call::LogIn { place, .. } => {
                        places.made(place, Arc::new(session(Vec::new()).0));
                        place
                    }
                    other => resumed(other),
                };
                places.told(
                    now,
                    Told { sent: now - Duration::from_millis(50), bytes: 1 << 20, how: Ended::Served },
                );
                places.leave(place, true, now);
            }
            // It is given up at last, which tells little of the host.
            places.told(now, Told { sent: SECOND, bytes: 1 << 20, how: Ended::Lost });
            assert_eq!(places.learner.limit(), 8);
        });
    }

    #[test]
    fn the_places_of_a_host_are_for_all_its_mailboxes_together_and_logins_keep_their_distance() {
        on_a_runtime(async {
            let mut places = places(5, 4);
            let mut made = 0;
            for call in 0..100 {
                // Of 25 mailboxes, each with up to four calls at once.
                if let Call::LogIn { place, .. } = places.call(call % 25, SECOND, true, Holds::Nothing) {
                    places.made(place, Arc::new(session(Vec::new()).0));
                    made += 1;
                }
                assert!(places.places.len() <= 5);
            }
            assert_eq!(made, 5, "all places are taken");
            let interval = Duration::from_millis(200);
            let at: Vec<Tick> = (0..4).map(|_| places.next_login(SECOND, interval)).collect();
            assert_eq!(at, [0, 1, 2, 3].map(|n| SECOND + interval * n), "whoever asks at once");
            assert_eq!(places.next_login(10 * SECOND, interval), 10 * SECOND, "nothing is saved up");
        });
    }

    fn places_after_all_left(mut places: Places) -> bool {
        for number in 1..10 {
            places.leave(number, false, SECOND);
        }
        places.crowded(9, SECOND)
    }
}
