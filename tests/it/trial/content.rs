//! What the sources of the trial hold, whatever kind they are, and what their users do between the passes.

use crate::support::mailgen::{Mail, MailGen};

use super::peer::UPLOAD_FROM;

pub const MAILBOXES: [&str; 3] = ["ann", "ben", "cleo"];

/// How much there is. At least 3 folders of some messages each are wanted for what the users do.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub mailboxes: usize,
    /// Messages of each, besides a twin.
    pub each: usize,
}

/// One message where it lies.
#[derive(Debug, Clone)]
pub struct Item {
    /// Stays, whatever becomes of the message.
    pub id: u32,
    pub mailbox: &'static str,
    /// Levels joined with `/`.
    pub folder: &'static str,
    pub octets: Vec<u8>,
    pub flags: Vec<&'static str>,
    pub received: i64,
}

/// All of them, in the order they came to where they are.
#[derive(Debug, Clone)]
pub struct Content {
    pub items: Vec<Item>,
    pub mailboxes: Vec<&'static str>,
    seed: u64,
    next: u32,
}

const PROJECTS: &str = "Projekte Ä/2019";
const ARCHIVE: &str = "Архив";

/// The next message that any store can hold: an mbox wants a header block that ends.
fn next(mails: &mut MailGen) -> Mail {
    loop {
        let mail = mails.next();
        if mail.octets.ends_with(b"\r\n") && mail.octets.windows(4).any(|w| w == b"\r\n\r\n") {
            return mail;
        }
    }
}

impl Content {
    pub fn first(seed: u64, scale: Scale) -> Content {
        let mailboxes = MAILBOXES[..scale.mailboxes].to_vec();
        let mut content = Content { items: Vec::new(), mailboxes: mailboxes.clone(), seed, next: 1 };
        for (m, mailbox) in mailboxes.into_iter().enumerate() {
            let mut mails = MailGen::new(seed.wrapping_add(m as u64), "example.org");
            for n in 0..scale.each {
                let folder = ["INBOX", "INBOX", PROJECTS, ARCHIVE][n % 4];
                let mail = if n == 6 || n == 9 {
                    mails.with_attachment(UPLOAD_FROM as usize + 2_000)
                } else {
                    next(&mut mails)
                };
                content.add(mailbox, folder, &mail);
                if n == 3 {
                    // An exact twin, in the same folder: two messages, two copies.
                    content.add(mailbox, folder, &mail);
                }
            }
        }
        content
    }

    fn add(&mut self, mailbox: &'static str, folder: &'static str, mail: &Mail) {
        let (id, octets) = (self.next, mail.octets.clone());
        self.next += 1;
        self.items.push(Item {
            id,
            mailbox,
            folder,
            octets,
            flags: mail.flags.clone(),
            received: mail.received,
        });
    }

    /// Where the nth message of a folder is.
    fn at(&self, mailbox: &str, folder: &str, nth: usize) -> usize {
        let of = |i: &(usize, &Item)| i.1.mailbox == mailbox && i.1.folder == folder;
        self.items.iter().enumerate().filter(of).nth(nth).expect("the folder has that many").0
    }

    fn relocate(&mut self, mailbox: &str, from: &str, nth: usize, to: &'static str) {
        let mut item = self.items.remove(self.at(mailbox, from, nth));
        item.folder = to;
        self.items.push(item);
    }

    fn toggle(&mut self, mailbox: &str, folder: &str, nth: usize) {
        let at = self.at(mailbox, folder, nth);
        let flags = &mut self.items[at].flags;
        for flag in ["\\Seen", "\\Flagged"] {
            match flags.iter().position(|f| *f == flag) {
                Some(at) => drop(flags.remove(at)),
                None => flags.push(flag),
            }
        }
    }

    /// What the users do before the second pass (`round` 1) and before the third: new mail, a move, a deletion, other
    /// flags, in each mailbox.
    pub fn change(&mut self, round: usize) {
        for (m, mailbox) in self.mailboxes.clone().into_iter().enumerate() {
            let mut mails = MailGen::new(
                self.seed.wrapping_add((100 * round + m) as u64),
                ["", "example.net", "example.com"][round],
            );
            let new = if round == 1 { ["INBOX", "INBOX"] } else { [ARCHIVE, "Neu"] };
            for folder in new {
                let mail = next(&mut mails);
                self.add(mailbox, folder, &mail);
            }
            if round == 1 {
                self.relocate(mailbox, "INBOX", 1, ARCHIVE);
                self.items.remove(self.at(mailbox, "INBOX", 2));
                self.toggle(mailbox, PROJECTS, 0);
            } else {
                self.relocate(mailbox, PROJECTS, 1, "INBOX");
                self.items.remove(self.at(mailbox, ARCHIVE, 0));
                self.toggle(mailbox, "INBOX", 2);
            }
        }
    }
}
