//! `dovecot-keywords`: the letters `a`–`z` of a folder's file names, and the keywords they stand for.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::env::Env;
use crate::model::Flags;

use super::Fsync;
use super::files::{read_small, replace};

const FILE: &str = "dovecot-keywords";
/// Dovecot's own lock: the new file is written under this name and renamed.
const LOCK: &str = "dovecot-keywords.lock";
const MAX_FILE: u64 = 64 << 10;
/// How often a lock that another holds is looked at again, and how long in between. One that did not change all that
/// time is left over from a crash.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// Kept by a letter of its own.
const FORWARDED: &str = "$Forwarded";

/// The keywords of a folder, by letter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keywords(Vec<Option<String>>);

impl Keywords {
    /// Reads a folder's file; none if there is no file.
    pub(super) fn read(dir: &Path) -> io::Result<Keywords> {
        let bytes = read_small(&dir.join(FILE), MAX_FILE)?.unwrap_or_default();
        let mut slots = vec![None; 26];
        for line in String::from_utf8_lossy(&bytes).lines() {
            if let Some((index, name)) = line.split_once(' ')
                && let Some(slot) = index.parse::<usize>().ok().and_then(|i| slots.get_mut(i))
                && !name.is_empty()
            {
                *slot = Some(name.to_owned());
            }
        }
        Ok(Keywords(slots))
    }

    fn letter(&self, keyword: &str) -> Option<char> {
        let at = self.0.iter().position(|k| k.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(keyword)))?;
        Some(char::from(b'a' + u8::try_from(at).ok()?))
    }

    /// Gives letters to keywords that have none, as far as there are any; `true` if it gave one.
    fn add<'a>(&mut self, wanted: impl Iterator<Item = &'a String>) -> bool {
        let mut added = false;
        for keyword in wanted {
            if !fits(keyword) || self.letter(keyword).is_some() {
                continue;
            }
            if let Some(slot) = self.0.iter_mut().find(|slot| slot.is_none()) {
                *slot = Some(keyword.clone());
                added = true;
            }
        }
        added
    }

    fn text(&self) -> String {
        let lines = self.0.iter().enumerate();
        lines.filter_map(|(i, k)| k.as_ref().map(|k| format!("{i} {k}\n"))).collect()
    }

    /// The letters of a message's flags, sorted as Maildir wants them, and whether a keyword found no letter.
    pub(super) fn letters(&self, flags: &Flags) -> (String, bool) {
        let mut letters: Vec<char> = flags.letters().chars().collect();
        let mut lost = false;
        for keyword in &flags.keywords {
            if keyword.eq_ignore_ascii_case(FORWARDED) {
                letters.push('P');
            } else if let Some(letter) = self.letter(keyword) {
                letters.push(letter);
            } else {
                lost = true;
            }
        }
        letters.sort_unstable();
        (letters.into_iter().collect(), lost)
    }

    /// The flags that letters stand for.
    pub(super) fn flags(&self, letters: &str) -> Flags {
        let mut flags = Flags::decode(&letters.replace(' ', ""));
        for letter in letters.bytes() {
            match letter {
                b'P' => flags.add(FORWARDED),
                b'a'..=b'z' => {
                    if let Some(Some(keyword)) = self.0.get(usize::from(letter - b'a')) {
                        flags.add(keyword);
                    }
                }
                _ => {}
            }
        }
        flags
    }
}

/// Can a line of the file hold it?
fn fits(keyword: &str) -> bool {
    !keyword.is_empty()
        && keyword.len() <= 255
        && !keyword.eq_ignore_ascii_case(FORWARDED)
        && !keyword.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// A folder's keywords, with letters for those of `flags`. The caller holds the mailbox's folders; Dovecot is kept out
/// by its own lock. If that cannot be had, what is there is used: a keyword without a letter is a declared loss.
pub(super) async fn with_letters<'a>(
    env: &Env,
    dir: &Path,
    flags: impl Iterator<Item = &'a Flags> + Clone,
    fsync: Fsync,
) -> io::Result<Keywords> {
    let wanted = || flags.clone().flat_map(|f| &f.keywords);
    if !Keywords::read(dir)?.clone().add(wanted()) {
        return Keywords::read(dir);
    }
    let lock = dir.join(LOCK);
    let mut seen = None;
    for attempt in 0..TRIES {
        // Read anew under the lock's shadow: the file that `replace` puts in place is the lock itself.
        let mut keywords = Keywords::read(dir)?;
        if !keywords.add(wanted()) {
            return Ok(keywords);
        }
        match env.blocking(|| replace(&dir.join(FILE), &lock, keywords.text().as_bytes(), fsync)) {
            Ok(()) => return Ok(keywords),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                let now = lock.symlink_metadata().ok().and_then(|m| m.modified().ok());
                if attempt + 2 == TRIES && now.is_some() && seen == Some(now) {
                    std::fs::remove_file(&lock)?;
                }
                if attempt == 0 {
                    seen = Some(now);
                }
                env.sleep(PAUSE).await;
            }
            Err(e) => return Err(e),
        }
    }
    Keywords::read(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_27th_keyword_is_a_loss_and_the_others_are_kept() {
        let mut flags = Flags::default();
        (0..27).for_each(|n| flags.add(&format!("k{n:02}")));
        flags.add("$Forwarded");
        let mut keywords = Keywords(vec![None; 26]);
        assert!(keywords.add(flags.keywords.iter()));
        let (letters, lost) = keywords.letters(&flags);
        assert_eq!(letters, "Pabcdefghijklmnopqrstuvwxyz");
        assert!(lost);
        assert_eq!(keywords.flags(&letters).keywords.len(), 27);
    }

    #[test]
    fn a_keyword_with_a_line_end_is_not_written() {
        let mut keywords = Keywords(vec![None; 26]);
        assert!(!keywords.add(["a\nb".to_owned(), "x y".to_owned()].iter()));
        assert_eq!(keywords.text(), "");
    }
}
