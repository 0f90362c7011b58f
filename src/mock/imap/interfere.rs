//! Where the fault script interferes with commands and answers (those on single FETCH answers: `fetch`).

use super::command::Command;
use super::fault::{Act, Due, Noise};
use super::parse;
use super::session::{Reply, Session, Stream};
use super::store::Store;
use super::wire::{End, Part};

/// So many lines of untagged noise are gathered at most before they are written.
const NOISE_PIECE: u64 = 4096;

impl<S: Stream> Session<'_, S> {
    /// The folder a SELECT, EXAMINE or STATUS names, for rules that change it.
    pub(super) fn named_folder(&self, verb: &str, parts: &[Part]) -> Option<String> {
        if !["SELECT", "EXAMINE", "STATUS"].contains(&verb) {
            return None;
        }
        let wire = match parse::parse(parts, &self.mock.options, self.utf8).ok()? {
            Command::Select { folder, .. } | Command::Status { folder, .. } => folder,
            _ => return None,
        };
        self.resolve(&wire).ok()
    }

    /// Does the acts that come before a command or take its place; gives the answer if there is one already.
    pub(super) async fn before(&mut self, due: &[Due], named: Option<String>) -> Result<Option<Reply>, End> {
        for d in due {
            let mut fired = true;
            let mut instead = None;
            match &d.act {
                Act::No(text) => instead = Some(Reply::no(text.as_str())),
                Act::Bad(text) => instead = Some(Reply::bad(text.as_str())),
                Act::Bye(text) => {
                    self.mock.script.fire(d.rule);
                    self.conn.out.untagged(&format!("BYE {text}"));
                    self.conn.flush().await?;
                    return Err(End::Orderly);
                }
                Act::NoAndBye(text) => {
                    self.mock.script.fire(d.rule);
                    self.conn.out.push(format!("{} NO {text}\r\n", self.last_tag).as_bytes());
                    self.conn.out.untagged(&format!("BYE {text}"));
                    self.conn.flush().await?;
                    return Err(End::Orderly);
                }
                Act::Throttled(milliseconds) => {
                    self.mock.script.fire(d.rule);
                    let text = format!(
                        "BAD Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds"
                    );
                    let line = format!("{} {text}\r\n", self.last_tag);
                    self.conn.out.push(line.as_bytes());
                    self.conn.out.untagged("BYE Connection is closed. 14");
                    self.conn.flush().await?;
                    return Err(End::Orderly);
                }
                Act::Hang => {
                    self.mock.script.fire(d.rule);
                    loop {
                        self.conn.input.clear();
                        self.conn.fill().await?;
                    }
                }
                Act::ResetAt(octets) if d.uid.is_none() => {
                    self.conn.out.cut_at(*octets, End::Reset, d.rule);
                    fired = false;
                }
                Act::CloseAt(octets) if d.uid.is_none() => {
                    self.conn.out.cut_at(*octets, End::Closed, d.rule);
                    fired = false;
                }
                Act::Trickle(pause) => {
                    self.conn.flush().await?;
                    self.conn.trickle = Some(*pause);
                }
                Act::Delay(pause) => self.mock.world.sleep(*pause).await,
                Act::Noise(noise) => self.noise(noise).await?,
                Act::ExpungeBefore(uid) => fired = self.expunge_behind(*uid),
                Act::RenameBefore(from, to) => {
                    fired = self.behind(|store, user| store.rename_folder(user, from, to));
                }
                Act::LabelBefore(id, labels) => {
                    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                    fired = self.behind(|store, user| store.set_labels(user, *id, &labels));
                }
                Act::DeleteBefore(folder) => {
                    fired = self.behind(|store, user| store.delete_folder(user, folder));
                }
                Act::CreateBefore(folder) => {
                    fired = self.behind(|store, user| {
                        store.add_folder(user, folder);
                        true
                    });
                }
                Act::NoSelectBefore(folder) => {
                    fired = self.behind(|store, user| {
                        store.set_no_select(user, folder, true);
                        true
                    });
                }
                Act::RenumberBefore(folder) => {
                    fired = self.behind(|store, user| store.reset_uid_validity(user, folder));
                }
                Act::NewUidValidity => {
                    let mut store = self.mock.store();
                    fired = named
                        .as_ref()
                        .zip(self.user.as_ref())
                        .is_some_and(|(f, u)| store.reset_uid_validity(u, f));
                }
                _ => fired = false,
            }
            if fired {
                self.mock.script.fire(d.rule);
            }
            if instead.is_some() {
                return Ok(instead);
            }
        }
        Ok(None)
    }

    async fn noise(&mut self, noise: &Noise) -> Result<(), End> {
        match noise {
            Noise::Exists(count) => {
                for i in 0..*count {
                    self.conn.out.untagged(&format!("{} EXISTS", i % 1_000_000 + 1));
                    if i % NOISE_PIECE == NOISE_PIECE - 1 {
                        self.conn.flush().await?;
                    }
                }
            }
            Noise::Unknown => self.conn.out.push(
                b"* XUNHEARD-OF (\"of\" 17 NIL (nested (lists) \"here\"))\r\n\
                  * OK [XCODE \"with (odd) text\"] still here\r\n\
                  * NO [ALERT] disk is nearly full\r\n\
                  * FLAGS (\\Answered \\Odd $Keyword \\*)\r\n\
                  * 17 XNUMBERED\r\n\
                  * XLITERAL {12}\r\nA1 OK fake\r\n\r\n",
            ),
            Noise::LongLine(octets) => {
                self.conn.out.push(b"* OK ");
                let mut left = *octets;
                while left > 0 {
                    let piece = left.min(64 * 1024);
                    self.conn.out.push(&vec![b'x'; piece as usize]);
                    self.conn.flush().await?;
                    left -= piece;
                }
                self.conn.out.push(b"\r\n");
            }
            Noise::EmptyLines => self.conn.out.push(b"\r\n\r\n"),
            Noise::DoubleSpaces => self.conn.out.double_spaces = true,
            Noise::Raw(octets) => self.conn.out.push(octets),
        }
        Ok(())
    }

    /// What another client does meanwhile.
    fn behind(&self, change: impl FnOnce(&mut Store, &str) -> bool) -> bool {
        self.user.as_ref().is_some_and(|user| change(&mut self.mock.store(), user))
    }

    fn expunge_behind(&mut self, uid: u32) -> bool {
        let Some((user, view)) = self.user.as_ref().zip(self.view.as_ref()) else { return false };
        self.mock.store().expunge(user, &view.name, uid)
    }

    /// Octets after the tagged answer.
    pub(super) fn extras(&mut self, due: &[Due]) {
        for d in due {
            match &d.act {
                Act::ExtraAfter(octets) => self.conn.out.push(octets),
                Act::OkEarly(tag) => {
                    let tag = tag.clone().unwrap_or_else(|| counted_on(&self.last_tag));
                    self.conn.out.push(format!("{tag} OK done before it was asked\r\n").as_bytes());
                }
                _ => continue,
            }
            self.mock.script.fire(d.rule);
        }
    }

    /// The tagged answer, and what the script makes of it.
    pub(super) async fn finish(&mut self, tag: &str, mut reply: Reply, due: &[Due]) -> Result<(), End> {
        for d in due {
            match &d.act {
                Act::NoAtEnd(text) => reply = Reply::no(text.as_str()),
                Act::BadAtEnd(text) => reply = Reply::bad(text.as_str()),
                Act::ByeAtEnd(text) => {
                    self.mock.script.fire(d.rule);
                    self.conn.out.untagged(&format!("BYE {text}"));
                    self.conn.flush().await?;
                    return Err(End::Orderly);
                }
                Act::WithoutCode if reply.text.starts_with('[') => {
                    let bare = reply.text.split_once("] ").map(|(_, text)| text.to_owned());
                    reply.text = bare.unwrap_or_default();
                }
                _ => continue,
            }
            self.mock.script.fire(d.rule);
        }
        self.conn.out.push(format!("{tag} {} {}\r\n", reply.status, reply.text).as_bytes());
        self.extras(due);
        if self.conn.out.stopped.is_some() || self.conn.trickle.is_some() || self.conn.out.is_full() {
            self.conn.flush().await?;
            self.conn.trickle = None;
        }
        Ok(())
    }
}

/// `A7` → `A8`: what the next tag will be, if the client counts.
fn counted_on(tag: &str) -> String {
    let letters = tag.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &tag[letters.len()..];
    let next = digits.parse::<u64>().unwrap_or(0).saturating_add(1);
    format!("{letters}{next:0width$}", width = digits.len())
}
