//! What changes at the source between two passes: in each mailbox one message in a hundred is new, one in a hundred has
//! other flags, one in five hundred is removed, one in five hundred moved to another folder; one folder is new.

use crate::Result;
use crate::corpus::{Extent, FOLDERS};
use crate::reader::{Imap, literal, wire_name};

/// What was changed, over all mailboxes.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub struct Delta {
    pub new: u64,
    pub new_octets: u64,
    pub flags: u64,
    pub expunged: u64,
    pub moved: u64,
}

impl Delta {
    /// Changes one mailbox of the source by IMAP.
    pub fn apply(&mut self, port: u16, user: &str, extent: &Extent, number: usize) -> Result<()> {
        let mut imap = Imap::login(port, user)?;
        let mut dice = fastrand::Rng::with_seed(extent.seed ^ 0xde17_a000 ^ number as u64);
        let mut all: Vec<(usize, u32)> = Vec::new();
        for (folder, levels) in FOLDERS.iter().enumerate() {
            all.extend(imap.select(&wire_name(levels))?.into_iter().map(|uid| (folder, uid)));
        }
        dice.shuffle(&mut all);
        let hundredth = all.len().div_ceil(100);
        let few = all.len().div_ceil(500);
        let mut picked = all.into_iter();
        let mut pick = |count: usize| -> Vec<(usize, u32)> {
            let mut some: Vec<_> = picked.by_ref().take(count).collect();
            some.sort_unstable(); // each folder selected once
            some
        };
        let each =
            |imap: &mut Imap, some: Vec<(usize, u32)>, act: &mut dyn FnMut(&mut Imap, u32) -> Result<()>| {
                let mut selected = None;
                for (folder, uid) in some {
                    if selected.replace(folder) != Some(folder) {
                        imap.run(&[b"SELECT ", &literal(&wire_name(FOLDERS[folder]))])?;
                    }
                    act(imap, uid)?;
                }
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            };
        let mut turn = 0;
        each(&mut imap, pick(hundredth), &mut |imap, uid| {
            turn += 1;
            let change =
                ["+FLAGS (\\Seen \\Answered)", "-FLAGS (\\Seen)", "+FLAGS (work \\Flagged)"][turn % 3];
            imap.run(&[format!("UID STORE {uid} {change}").as_bytes()])?;
            self.flags += 1;
            Ok(())
        })?;
        each(&mut imap, pick(few), &mut |imap, uid| {
            imap.run(&[format!("UID STORE {uid} +FLAGS (\\Deleted)").as_bytes()])?;
            imap.run(&[format!("UID EXPUNGE {uid}").as_bytes()])?;
            self.expunged += 1;
            Ok(())
        })?;
        each(&mut imap, pick(few), &mut |imap, uid| {
            let to = literal(&wire_name(FOLDERS[2 + usize::try_from(uid)? % 4]));
            imap.run(&[format!("UID MOVE {uid} ").as_bytes(), &to])?;
            self.moved += 1;
            Ok(())
        })?;
        let fresh = wire_name(&["Projects", "2026"]);
        imap.run(&[b"CREATE ", &literal(&fresh)])?;
        for (n, mail) in extent.later(number, hundredth).enumerate() {
            let folder = if n == 0 { fresh.clone() } else { wire_name(FOLDERS[mail.folder]) };
            imap.append(&folder, &mail.octets, mail.flags, mail.received)?;
            self.new += 1;
            self.new_octets += mail.octets.len() as u64;
        }
        imap.run(&[b"LOGOUT"])?;
        Ok(())
    }
}
