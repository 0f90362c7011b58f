//! The typed verbs that concern folders, and those of the session as a whole.

use bytes::Bytes;

use super::answer::{Each, Ignore};
use super::{
    Capabilities, Command, Done, FolderStatus, ListEntry, Namespaces, Session, Status, Untagged, WireError,
};
use crate::model::{Error, Kind, Result, Scope};

impl Session {
    /// NAMESPACE (RFC 2342); empty if the server does not have it.
    ///
    /// # Errors
    /// The connection failed, the server refused or sent what cannot be read.
    pub async fn namespaces(&self) -> Result<Namespaces> {
        if !self.capabilities().has("NAMESPACE") {
            return Ok(Namespaces::default());
        }
        let mut found = Err(unreadable("its namespaces"));
        let mut each = Each(|response| {
            if let Untagged::Namespace(n) = response {
                found = Ok(n);
            }
        });
        let done = self.run(Command::new("NAMESPACE"), &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Mailbox, "asking for its namespaces")?;
        found.map(|spaces| self.known_spaces(spaces))
    }

    /// ENABLE (RFC 5161); what the server says it enabled, in upper case. Nothing is sent if it has no ENABLE.
    ///
    /// # Errors
    /// As [`Session::namespaces`].
    pub async fn enable(&self, names: &[&str]) -> Result<Capabilities> {
        let mut enabled = Capabilities::default();
        if !self.capabilities().has("ENABLE") {
            return Ok(enabled);
        }
        let command = names.iter().fold(Command::new("ENABLE"), |command, name| command.atom(name));
        let mut each = Each(|response| {
            if let Untagged::Enabled(names) = response {
                enabled = names;
            }
        });
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Mailbox, "turning on extensions")?;
        self.state().enabled.push(enabled.clone());
        Ok(enabled)
    }

    /// ID (RFC 2971): tells the server our name, which some want to know. Nothing is sent if it has no ID; a refusal
    /// is of no consequence.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn id(&self) -> Result<(), WireError> {
        if !self.capabilities().has("ID") {
            return Ok(());
        }
        let command = Command::new("ID").fixed("(\"name\" \"mailwave\")");
        self.run(command, &mut Ignore).await.map(|_| ())
    }

    /// LIST "" `pattern`, with special uses if the server can tell them apart from the start (RFC 6154).
    ///
    /// # Errors
    /// As [`Session::namespaces`]. One line that cannot be read is an error: a folder would be missing.
    pub async fn list(&self, pattern: &[u8]) -> Result<Vec<ListEntry>> {
        self.list_with(pattern, false).await
    }

    /// The same with each folder's status, its subscription (`\Subscribed`) and whether it has children, where the
    /// server can tell all that at once (RFC 5819, RFC 5258). A status it does not tell is `None`: ask with
    /// [`Session::status`].
    ///
    /// # Errors
    /// As [`Session::list`].
    pub async fn list_status(&self, pattern: &[u8]) -> Result<Vec<ListEntry>> {
        self.list_with(pattern, true).await
    }

    async fn list_with(&self, pattern: &[u8], status: bool) -> Result<Vec<ListEntry>> {
        if let Some(options) = self.return_options(status) {
            let list = Command::new("LIST").string(b"").string(&self.wire_name(pattern)).syntax(&options);
            let (done, entries) = self.run_list(list).await?;
            if done.status != Status::Bad {
                done.check(Scope::Mailbox, "listing the folders")?;
                return entries;
            }
            // Some offer the extended LIST and do not understand it.
            self.state().plain_list = true;
        }
        let list = Command::new("LIST").string(b"").string(&self.wire_name(pattern));
        let (done, entries) = self.run_list(list).await?;
        done.check(Scope::Mailbox, "listing the folders")?;
        entries
    }

    /// What the server offers to tell with a folder's name.
    fn return_options(&self, status: bool) -> Option<String> {
        let offer = self.capabilities();
        if self.state().plain_list || !offer.has("LIST-EXTENDED") {
            return None;
        }
        let mut options = Vec::new();
        if status {
            if offer.has("LIST-STATUS") {
                options.push(format!("STATUS ({})", status_items(&offer)));
            }
            options.extend(["SUBSCRIBED".to_owned(), "CHILDREN".to_owned()]);
        }
        if offer.has("SPECIAL-USE") {
            options.push("SPECIAL-USE".to_owned());
        }
        (!options.is_empty()).then(|| format!("RETURN ({})", options.join(" ")))
    }

    async fn run_list(&self, command: Command) -> Result<(Done, Result<Vec<ListEntry>>)> {
        let mut entries = Vec::new();
        let mut told: Vec<(Bytes, FolderStatus)> = Vec::new();
        let mut bad = false;
        let mut each = Each(|response| match response {
            Untagged::List(entry) => entries.push(entry),
            Untagged::Folder(name, status) => told.push((name, status)),
            Untagged::Unreadable("LIST") => bad = true,
            _ => {}
        });
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        for entry in &mut entries {
            entry.name = self.known_name(std::mem::take(&mut entry.name));
        }
        let told = told.into_iter().map(|(name, status)| (self.known_name(name), status)).collect();
        match_statuses(&mut entries, told);
        Ok((done, if bad { Err(unreadable("its list of folders")) } else { Ok(entries) }))
    }

    /// STATUS of one folder that is not open: messages, UIDNEXT, UIDVALIDITY, and HIGHESTMODSEQ, MAILBOXID and APPENDLIMIT
    /// where the server knows them.
    ///
    /// # Errors
    /// As [`Session::namespaces`], of the folder.
    pub async fn status(&self, name: &[u8]) -> Result<FolderStatus> {
        let items = format!("({})", status_items(&self.capabilities()));
        let mut found = Err(unreadable("a folder's status").scoped(Scope::Folder));
        let mut each = Each(|response| {
            if let Untagged::Folder(_, status) = response {
                found = Ok(status);
            }
        });
        let command = Command::new("STATUS").string(&self.wire_name(name)).syntax(&items);
        let done = self.run(command, &mut each).await.map_err(WireError::into_error)?;
        done.check(Scope::Folder, "asking for a folder's status")?;
        found
    }

    /// CREATE, with a role where one is given (`\Sent`) and the server takes it (CREATE-SPECIAL-USE, RFC 6154).
    ///
    /// # Errors
    /// The connection failed. The tagged status is for the caller to look at; so it is with the verbs below.
    pub async fn create(&self, name: &[u8], role: Option<&str>) -> Result<Done, WireError> {
        let mut command = Command::new("CREATE").string(&self.wire_name(name));
        if let Some(role) = role.filter(|_| self.capabilities().has("CREATE-SPECIAL-USE")) {
            command = command.fixed("(USE").flags([role]).closing();
        }
        self.run(command, &mut Ignore).await
    }

    /// RENAME
    ///
    /// # Errors
    /// As [`Session::create`].
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<Done, WireError> {
        let (from, to) = (self.wire_name(from), self.wire_name(to));
        self.run(Command::new("RENAME").string(&from).string(&to), &mut Ignore).await
    }

    /// DELETE
    ///
    /// # Errors
    /// As [`Session::create`].
    pub async fn delete(&self, name: &[u8]) -> Result<Done, WireError> {
        self.run(Command::new("DELETE").string(&self.wire_name(name)), &mut Ignore).await
    }

    /// SUBSCRIBE
    ///
    /// # Errors
    /// As [`Session::create`].
    pub async fn subscribe(&self, name: &[u8]) -> Result<Done, WireError> {
        self.run(Command::new("SUBSCRIBE").string(&self.wire_name(name)), &mut Ignore).await
    }

    /// UNSUBSCRIBE
    ///
    /// # Errors
    /// As [`Session::create`].
    pub async fn unsubscribe(&self, name: &[u8]) -> Result<Done, WireError> {
        self.run(Command::new("UNSUBSCRIBE").string(&self.wire_name(name)), &mut Ignore).await
    }
}

/// What is asked of a folder's status.
fn status_items(offer: &Capabilities) -> String {
    let mut items = vec!["MESSAGES", "UIDNEXT", "UIDVALIDITY"];
    if offer.has("CONDSTORE") || offer.has("QRESYNC") {
        items.push("HIGHESTMODSEQ");
    }
    if offer.status_has_mailbox_id() {
        items.push("MAILBOXID");
    }
    if offer.has("APPENDLIMIT") {
        items.push("APPENDLIMIT"); // each folder has its own (RFC 7889 §3.1); `APPENDLIMIT=n` is for all of them
    }
    items.join(" ")
}

/// Gives each folder the status told under its name. They come in any order, mixed with the names or behind them.
fn match_statuses(entries: &mut [ListEntry], told: Vec<(Bytes, FolderStatus)>) {
    let key = |name: &Bytes| {
        if name.eq_ignore_ascii_case(b"INBOX") { Bytes::from_static(b"INBOX") } else { name.clone() }
    };
    let mut told: std::collections::BTreeMap<Bytes, FolderStatus> =
        told.into_iter().map(|(name, status)| (key(&name), status)).collect();
    for entry in entries {
        entry.status = told.remove(&key(&entry.name));
    }
}

pub(super) fn unreadable(what: &str) -> Error {
    Error::temporary(
        Kind::Protocol,
        Scope::Mailbox,
        format!("the server answered {what} in a way that cannot be read"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, expect, on_a_runtime, send, session_with};
    use super::*;

    fn listed(capabilities: &str, times: usize, script: Vec<Script>) -> Vec<Vec<ListEntry>> {
        on_a_runtime(async {
            let (session, peer) = session_with(capabilities, script);
            let mut lists = Vec::new();
            for _ in 0..times {
                lists.push(session.list_status(b"*").await.expect("listed"));
            }
            drop(session);
            peer.await.expect("the peer saw what it expected");
            lists
        })
    }

    #[test]
    fn cyrus_is_not_asked_for_ids_it_makes_up() {
        let items = |words: &str| status_items(&words.split(' ').map(str::to_owned).collect());
        assert_eq!(items("OBJECTID CONDSTORE"), "MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID");
        assert_eq!(items("OBJECTID X-REPLICATION"), "MESSAGES UIDNEXT UIDVALIDITY");
        assert_eq!(items("APPENDLIMIT=100"), "MESSAGES UIDNEXT UIDVALIDITY");
        assert_eq!(items("APPENDLIMIT"), "MESSAGES UIDNEXT UIDVALIDITY APPENDLIMIT");
    }

    #[test]
    fn folders_come_with_their_status_in_any_shape_and_order() {
        let answer = "* LIST (\\HasNoChildren \\Subscribed) \"/\" inbox\r\n\
            * STATUS \"INBOX\" (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 5 MAILBOXID (F1))\r\n\
            * STATUS {3}\r\na{b (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 7)\r\n\
            * LIST (\\NonExistent) \"/\" gone\r\n\
            * LIST () \"/\" {3}\r\na{b\r\n\
            * LIST () \"/\" \"no status\"\r\n\
            $ OK done\r\n";
        let lists = listed(
            "LIST-EXTENDED LIST-STATUS SPECIAL-USE CONDSTORE OBJECTID",
            1,
            vec![
                expect(
                    "LIST \"\" \"*\" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID) SUBSCRIBED CHILDREN SPECIAL-USE)",
                ),
                send(answer),
            ],
        );
        let status = |n: usize| lists[0][n].status.clone();
        assert_eq!(status(0).and_then(|s| s.mailbox_id).as_deref(), Some("F1"));
        assert_eq!((status(1), status(3)), (None, None));
        assert_eq!(status(2).and_then(|s| s.messages), Some(1));
        assert!(lists[0][0].has("\\subscribed"));
    }

    #[test]
    fn a_server_that_does_not_take_what_it_offers_is_asked_plainly_from_then_on() {
        let answer = || send("* LIST () \"/\" x\r\n$ OK done\r\n");
        let lists = listed(
            "LIST-EXTENDED",
            2,
            vec![
                expect("LIST \"\" \"*\" RETURN (SUBSCRIBED CHILDREN)"),
                send("$ BAD what?\r\n"),
                expect("LIST \"\" \"*\""),
                answer(),
                expect("LIST \"\" \"*\""),
                answer(),
            ],
        );
        assert!(lists.iter().all(|list| list.len() == 1 && list[0].status.is_none()));
    }

    #[test]
    fn a_folder_is_made_with_its_role_where_the_server_takes_it() {
        on_a_runtime(async {
            let (session, peer) = session_with(
                "CREATE-SPECIAL-USE",
                vec![
                    expect("CREATE \"a b\" (USE (\\Sent))"),
                    send("$ NO [ALREADYEXISTS] there\r\n"),
                    expect("STATUS \"a b\" (MESSAGES UIDNEXT UIDVALIDITY)"),
                    send("* STATUS \"a b\" (MESSAGES 1)\r\n$ OK\r\n"),
                ],
            );
            let done = session.create(b"a b", Some("\\Sent")).await.expect("answered");
            assert!(done.code.is("ALREADYEXISTS"));
            assert_eq!(session.status(b"a b").await.expect("told").messages, Some(1));
            drop(session);
            peer.await.expect("the peer saw what it expected");
        });
    }
}
