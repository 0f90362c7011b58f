//! Which arrival is the copy of which open message: a pure function over multisets.

use crate::model::{Digest, Flags, Timestamp};
use crate::target::Arrival;

/// What is known of a message whose copy may have come.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    /// Of its octets as we sent them; `None` if they cannot be had any more: then nothing is told of it.
    pub digest: Option<Digest>,
    /// Its octets, in bytes.
    pub size: u64,
    /// Its `Message-ID`, hashed (0: it has none); `None` if it was not read.
    pub message_id: Option<u64>,
    /// The received date it was sent with.
    pub received: Option<Timestamp>,
    /// The flags it was sent with.
    pub flags: Flags,
}

impl Expected {
    /// Same octets.
    fn is(&self, arrival: &Arrival) -> bool {
        self.digest == Some(arrival.digest)
    }

    /// Same octets, date and flags.
    fn is_wholly(&self, arrival: &Arrival) -> bool {
        self.is(arrival) && self.flags == arrival.flags && same_time(self.received, arrival.received)
    }

    /// Other octets, and yet the same message, changed by the server: by its Message-ID and date; by its date and its
    /// exact size if it has no Message-ID.
    fn resembles(&self, arrival: &Arrival) -> bool {
        let near = (self.size / 8).max(1024);
        match self.message_id {
            _ if self.digest.is_none() || !same_time(self.received, arrival.received) => false,
            None => false,
            Some(0) => arrival.message_id == 0 && self.received.is_some() && self.size == arrival.size,
            Some(id) => id == arrival.message_id && self.size.abs_diff(arrival.size) <= near,
        }
    }
}

/// Do these dates not contradict each other? A server may write an instant in another zone.
pub(super) fn same_time(ours: Option<Timestamp>, theirs: Option<Timestamp>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours.seconds == theirs.seconds,
        _ => true,
    }
}

/// For each expected message the index of the arrival that is its copy. An arrival settles one message at most. First
/// those with the same octets; then those a server changed, only where there is one way to see it.
pub(super) fn assign(expected: &[Expected], arrivals: &[Arrival]) -> Vec<Option<usize>> {
    let mut assigned: Vec<Option<usize>> = vec![None; expected.len()];
    let mut free = vec![true; arrivals.len()];
    for fits in [Expected::is_wholly, Expected::is] {
        for (one, slot) in expected.iter().zip(&mut assigned).filter(|(_, slot)| slot.is_none()) {
            if let Some(at) = arrivals.iter().zip(&free).position(|(a, free)| *free && fits(one, a)) {
                free[at] = false;
                *slot = Some(at);
            }
        }
    }
    for i in 0..expected.len() {
        let one = &expected[i];
        if assigned[i].is_some() {
            continue;
        }
        let alike: Vec<usize> =
            (0..arrivals.len()).filter(|a| free[*a] && one.resembles(&arrivals[*a])).collect();
        let Some(first) = alike.first().copied() else { continue };
        // Exact twins may be exchanged; anything else that would fit too makes it doubtful.
        let one_message = alike.iter().all(|a| arrivals[*a].digest == arrivals[first].digest);
        let mut rivals = expected.iter().zip(&assigned).filter(|(_, slot)| slot.is_none());
        if one_message && rivals.all(|(r, _)| r.digest == one.digest || !r.resembles(&arrivals[first])) {
            free[first] = false;
            assigned[i] = Some(first);
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(octets: &str, message_id: u64, received: i64) -> Expected {
        Expected {
            digest: Some(Digest::of(octets.as_bytes())),
            size: octets.len() as u64,
            message_id: Some(message_id),
            received: Some(Timestamp::utc(received)),
            flags: Flags::default(),
        }
    }

    fn arrival(id: &str, octets: &str, message_id: u64, received: i64) -> Arrival {
        Arrival {
            id: id.to_owned(),
            digest: Digest::of(octets.as_bytes()),
            size: octets.len() as u64,
            message_id,
            received: Some(Timestamp { seconds: received, zone: 60 }),
            flags: Flags::default(),
        }
    }

    #[test]
    fn two_identical_messages_need_two_arrivals() {
        let twins = [expected("a", 1, 5), expected("a", 1, 5)];
        assert_eq!(assign(&twins, &[arrival("x", "a", 1, 5)]), [Some(0), None]);
        let both = [arrival("x", "a", 1, 5), arrival("z", "b", 9, 5), arrival("y", "a", 1, 5)];
        assert_eq!(assign(&twins, &both), [Some(0), Some(2)]);
    }

    #[test]
    fn among_twins_date_and_flags_decide() {
        let mut seen = expected("a", 1, 5);
        seen.flags.seen = true;
        let mut read = arrival("y", "a", 1, 5);
        read.flags.seen = true;
        assert_eq!(
            assign(&[expected("a", 1, 5), seen], &[read, arrival("x", "a", 1, 5)]),
            [Some(1), Some(0)]
        );
    }

    #[test]
    fn mail_of_somebody_else_settles_nothing() {
        let one = [expected("a", 1, 5)];
        assert_eq!(assign(&one, &[arrival("x", "b", 2, 5)]), [None], "another Message-ID");
        assert_eq!(assign(&one, &[arrival("x", "b", 1, 6)]), [None], "another date");
        let gone = Expected { digest: None, message_id: Some(1), size: 1, ..Expected::default() };
        assert_eq!(assign(&[gone], &[arrival("x", "a", 1, 5)]), [None], "its octets are not known");
    }

    #[test]
    fn a_message_the_server_changed_is_known_if_there_is_one_way_to_see_it() {
        let one = [expected("a", 1, 5)];
        assert_eq!(assign(&one, &[arrival("x", "a changed", 1, 5)]), [Some(0)]);
        let unread = [Expected { message_id: None, ..expected("a", 1, 5) }];
        assert_eq!(assign(&unread, &[arrival("x", "a changed", 1, 5)]), [None]);
        let two = [arrival("x", "a changed", 1, 5), arrival("y", "a otherwise", 1, 5)];
        assert_eq!(assign(&one, &two), [None], "which of them?");
        let rivals = [expected("a", 1, 5), expected("b", 1, 5)];
        assert_eq!(assign(&rivals, &two[..1]), [None, None], "whose is it?");
        let twins = [expected("a", 1, 5), expected("a", 1, 5)];
        let both = [arrival("x", "a changed", 1, 5), arrival("y", "a changed", 1, 5)];
        assert_eq!(assign(&twins, &both), [Some(0), Some(1)]);
        assert_eq!(assign(&twins, &both[..1]), [Some(0), None]);
    }

    #[test]
    fn without_a_message_id_only_date_and_exact_size_count() {
        let one = [expected("abc", 0, 5)];
        assert_eq!(assign(&one, &[arrival("x", "abd", 0, 5)]), [Some(0)]);
        assert_eq!(assign(&one, &[arrival("x", "abcd", 0, 5)]), [None]);
        assert_eq!(assign(&one, &[arrival("x", "abd", 7, 5)]), [None]);
    }
}
