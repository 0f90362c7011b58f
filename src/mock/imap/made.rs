//! Mail that is made up when it is asked for: users, folders, sizes and octets follow from a seed and a law, so that a
//! hundred thousand mailboxes take no disk and, while nobody is logged in to them, no memory.
//!
//! The law in words: mailbox *n* (`u00000` is the first) has `folders_least` folders and some more (an exponential law,
//! at most `folders_most`), `messages_least` messages and some more (another one), spread over the folders, INBOX first;
//! sizes are log-normal, cut at both ends. One message in ten is unread, one in thirty flagged. Mail may change from one
//! generation to the next (`Law::drift`). Whoever knows the law knows the truth: [`Law::told`].

mod drift;
mod octets;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use drift::Drifted;
pub use octets::{Made, Told};

use super::date::InternalDate;
use super::store::{Folder, Message, Octets, User};

/// Largest message that is made, in octets.
const LARGEST: f64 = (150u64 << 20) as f64;
/// The oldest message, and the time over which they are spread, in seconds.
const OLDEST: i64 = 1_300_000_000;
const SPREAD: u64 = 450_000_000;
/// UIDVALIDITY of the first folder: unlike that of folders made by hand.
const VALIDITY: u64 = 1_000_000_000;

/// What is made. The same law gives the same mail on every machine of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Law {
    /// Decides every draw.
    pub seed: u64,
    /// Mailboxes there are.
    pub mailboxes: u64,
    /// Folders each mailbox has at least; INBOX is one of them, `Sent` the second.
    pub folders_least: u32,
    /// Mean number of folders beyond that.
    pub folders_more: f64,
    /// Folders a mailbox has at most.
    pub folders_most: u32,
    /// Messages each mailbox has at least.
    pub messages_least: u32,
    /// Mean number of messages beyond that.
    pub messages_more: f64,
    /// Median size of a message, in octets.
    pub size_median: f64,
    /// Standard deviation of the logarithm of sizes.
    pub size_sigma: f64,
    /// Smallest size, in octets; smaller than a header with a line it never is.
    pub size_least: u64,
    /// Largest size, in octets.
    pub size_most: u64,
    /// Messages above this many octets are a few words with a file attached.
    pub attached_above: u64,
    /// The generations that have passed since the mail was first made: in each, what part of the messages (0 to 1) saw a
    /// change. Of ten changes four are new messages, four other flags, one is a removal, one a move.
    pub drift: Vec<f64>,
}

impl Default for Law {
    fn default() -> Law {
        Law {
            seed: 1,
            mailboxes: 100,
            folders_least: 5,
            folders_more: 3.0,
            folders_most: 40,
            messages_least: 20,
            messages_more: 0.0,
            size_median: 12_000.0,
            size_sigma: 1.5,
            size_least: 2_000,
            size_most: 36_000_000,
            attached_above: 16_000,
            drift: Vec::new(),
        }
    }
}

/// A folder as the law has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeFolder {
    /// Its name, `/` between levels.
    pub name: String,
    /// Messages in it before any generation has passed; their UIDs are 1 and up.
    pub messages: u32,
}

/// What a draw is for: draws for different things are independent.
#[derive(Clone, Copy)]
enum For {
    Folders = 1,
    Messages,
    Place,
    Size,
    Other,
    Drift,
}

impl Law {
    /// The name of mailbox `n`, which is its user's.
    pub fn user(n: u64) -> String {
        format!("u{n:05}")
    }

    /// Which mailbox a user has, if it is one of the law's.
    pub fn mailbox(&self, user: &str) -> Option<u64> {
        let n = user.strip_prefix('u').and_then(|n| n.parse().ok()).filter(|n| *n < self.mailboxes)?;
        (Law::user(n) == user).then_some(n)
    }

    /// The folders of a mailbox, INBOX first. There are never more of them than messages, but for the least number.
    pub fn folders(&self, mailbox: u64) -> Vec<MadeFolder> {
        let more = exponential(self.draw(mailbox, 0, 0, For::Folders), self.folders_more);
        let most = self.folders_most.max(self.folders_least).max(1);
        let count = self.folders_least.max(1).saturating_add(more).min(most);
        let more = exponential(self.draw(mailbox, 0, 0, For::Messages), self.messages_more);
        let messages = self.messages_least.saturating_add(more);
        let mut folders: Vec<MadeFolder> =
            (0..count).map(|at| MadeFolder { name: name(at), messages: 0 }).collect();
        for message in 0..messages {
            // Half of the mail lies in INBOX, the rest anywhere.
            let place = self.draw(mailbox, 0, message, For::Place);
            let at = if place & 1 == 0 { 0 } else { (place >> 1) % u64::from(count) };
            if let Some(folder) = folders.get_mut(usize::try_from(at).unwrap_or(0)) {
                folder.messages += 1;
            }
        }
        folders
    }

    /// One message. `folder` is its place in [`Law::folders`].
    pub fn message(&self, mailbox: u64, folder: u32, uid: u32) -> Made {
        let size = self.size(self.draw(mailbox, folder, uid, For::Size));
        let seed = self.draw(mailbox, folder, uid, For::Other);
        Made::new(seed, size, self.attached_above, mailbox, folder, uid)
    }

    /// What a client that copies all of a mailbox must have at its end: the folder's place, and the message.
    pub fn told(&self, mailbox: u64) -> Vec<(u32, Told)> {
        let mut all = Vec::new();
        for (at, (_, folder)) in (0..).zip(self.folders_now(mailbox)) {
            let told = |m: &Message| {
                let has = |flag| m.flags.contains(flag);
                drift::made(&m.octets).map(|made| made.told_with(has("\\Seen"), has("\\Flagged")))
            };
            all.extend(folder.messages.values().filter_map(told).map(|told| (at, told)));
        }
        all
    }

    /// Octets and messages of a mailbox before any generation has passed.
    pub fn contents(&self, mailbox: u64) -> (u64, u64) {
        let (mut octets, mut messages) = (0, 0);
        for (at, folder) in (0..).zip(self.folders(mailbox)) {
            messages += u64::from(folder.messages);
            octets += (1..=folder.messages).map(|uid| self.message(mailbox, at, uid).size()).sum::<u64>();
        }
        (octets, messages)
    }

    fn size(&self, draw: u64) -> u64 {
        let most = (self.size_most as f64).min(LARGEST);
        let size = self.size_median * (self.size_sigma * normal(draw)).exp();
        size.min(most).max(self.size_least as f64).max(octets::LEAST as f64) as u64
    }

    fn draw(&self, mailbox: u64, folder: u32, number: u32, what: For) -> u64 {
        let place = (u64::from(folder) << 32) | u64::from(number);
        mix(mix(mix(self.seed ^ (what as u64)).wrapping_add(mailbox)).wrapping_add(place))
    }

    /// A message as the server keeps it.
    fn whole(&self, mailbox: u64, folder: u32, uid: u32) -> Message {
        let message = self.message(mailbox, folder, uid);
        let flags: BTreeSet<String> = message.flags().map(str::to_owned).collect();
        Message {
            date: InternalDate::utc(message.received()),
            octets: Octets::Made(message),
            flags,
            raw_date: None,
            modseq: 0,
            email_id: mix(mailbox ^ (u64::from(folder) << 40) ^ (u64::from(uid) << 20)),
        }
    }

    /// The folders as they are after all generations, INBOX first.
    fn folders_now(&self, mailbox: u64) -> Vec<(String, Folder)> {
        self.built(mailbox).0
    }

    /// The same, and what the last generation changed.
    fn built(&self, mailbox: u64) -> (Vec<(String, Folder)>, Drifted) {
        let (mut names, mut folders) = (Vec::new(), Vec::new());
        for (at, made) in (0..).zip(self.folders(mailbox)) {
            let validity = VALIDITY + (mailbox.wrapping_mul(1009).wrapping_add(u64::from(at))) % 500_000_000;
            let mut folder = Folder::new(u32::try_from(validity).unwrap_or(1));
            for uid in 1..=made.messages {
                folder.append(self.whole(mailbox, at, uid));
            }
            folder.special_use = (at == 1).then(|| "\\Sent".to_owned());
            names.push(made.name);
            folders.push(folder);
        }
        let last = self.drift(mailbox, &mut folders);
        (names.into_iter().zip(folders).collect(), last)
    }

    /// The mailbox as the server keeps it while somebody is logged in.
    pub(super) fn user_of(&self, mailbox: u64) -> User {
        let mut user = User::default();
        for (name, folder) in self.folders_now(mailbox) {
            user.subscribed.insert(name.clone());
            user.folders.insert(name, folder);
        }
        user.made = Some(user.steps());
        user
    }
}

impl User {
    /// May it be forgotten, because it would be made again as it is?
    pub(super) fn as_made(&self) -> bool {
        self.made.is_some_and(|made| made == self.steps())
    }

    /// Its folders, and the changes they have seen.
    fn steps(&self) -> (usize, u64) {
        (self.folders.len(), self.folders.values().map(|f| f.highest_modseq).sum())
    }
}

/// `INBOX`, `Sent`, then ordinary folders, some of them below others.
fn name(at: u32) -> String {
    match at {
        0 => "INBOX".to_owned(),
        1 => "Sent".to_owned(),
        at if at % 3 == 1 => format!("Work {:03}/Part {at:03}", at - 1),
        at => format!("Work {at:03}"),
    }
}

/// Scatters a number over all 64 bits (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number above 0 and up to 1.
fn unit(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 1.0) / (1u64 << 53) as f64
}

/// An exponential law's whole number, of this mean (of the number before it is cut to a whole one: half less).
fn exponential(draw: u64, mean: f64) -> u32 {
    (-unit(draw).ln() * mean.max(0.0)).round() as u32
}

/// The normal law (Box and Muller).
fn normal(draw: u64) -> f64 {
    (-2.0 * unit(draw).ln()).sqrt() * (std::f64::consts::TAU * unit(mix(draw))).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_makes_one_mail_and_another_seed_another() {
        let law = Law { mailboxes: 3, ..Law::default() };
        let again = Law { mailboxes: 99, ..Law::default() };
        let other = Law { seed: 2, ..law.clone() };
        assert_eq!(law.folders(2), again.folders(2), "how many mailboxes there are changes none of them");
        assert_eq!(law.message(2, 0, 1).octets(), again.message(2, 0, 1).octets());
        assert_ne!(law.message(2, 0, 1).octets(), other.message(2, 0, 1).octets());
        assert_ne!(law.message(2, 0, 1).octets(), law.message(1, 0, 1).octets());
    }

    #[test]
    fn mailboxes_have_the_folders_and_messages_of_the_law() {
        let law = Law { mailboxes: 2_000, messages_more: 10.0, ..Law::default() };
        let (mut folders, mut messages) = (0, 0);
        for n in 0..law.mailboxes {
            let made = law.folders(n);
            let names: BTreeSet<&String> = made.iter().map(|f| &f.name).collect();
            assert_eq!(names.len(), made.len(), "no two folders have one name");
            assert!((5..=40).contains(&made.len()), "{} folders", made.len());
            let count: u32 = made.iter().map(|f| f.messages).sum();
            assert!(count >= 20);
            (folders, messages) = (folders + made.len(), messages + count);
            assert_eq!(law.contents(n).1, u64::from(count));
        }
        let mean = |sum: f64| sum / 2_000.0;
        assert!((7.5..8.5).contains(&mean(folders as f64)), "{} folders a mailbox", mean(folders as f64));
        assert!(
            (29.0..31.0).contains(&mean(f64::from(messages))),
            "{} messages a mailbox",
            mean(f64::from(messages))
        );
    }

    #[test]
    fn sizes_are_log_normal_and_cut() {
        let law = Law { size_median: 10_000.0, size_sigma: 1.0, size_most: 100_000, ..Law::default() };
        let mut sizes: Vec<u64> = (1..=4_001).map(|uid| law.message(0, 0, uid).size()).collect();
        sizes.sort_unstable();
        assert!((9_000..11_000).contains(&sizes[2_000]), "median {}", sizes[2_000]);
        // One standard deviation above: e times the median.
        assert!((24_000..31_000).contains(&sizes[3_366]), "{}", sizes[3_366]);
        assert_eq!((sizes[0], sizes[4_000]), (2_000, 100_000), "both ends are cut");
    }

    #[test]
    fn only_its_own_users_are_the_laws() {
        let law = Law { mailboxes: 11, ..Law::default() };
        assert_eq!(law.mailbox("u00010"), Some(10));
        for other in ["u00011", "u10", "u000010", "v00001", "u", ""] {
            assert_eq!(law.mailbox(other), None, "{other}");
        }
    }
}
