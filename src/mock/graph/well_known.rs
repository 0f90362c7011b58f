//! The folders that have names of their own, and what they are called in a mailbox's language.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which well-known folder a folder is, if it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known(Option<u8>);

impl Known {
    /// None of them.
    pub(super) const NO: Known = Known(None);

    /// By its place among [`WELL_KNOWN`].
    pub(super) fn at(place: usize) -> Known {
        Known(u8::try_from(place).ok())
    }

    /// Its well-known name.
    pub(super) fn name(self) -> Option<&'static str> {
        WELL_KNOWN.get(usize::from(self.0?)).map(|known| known.0)
    }
}

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.name().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Known, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        Ok(name
            .and_then(|name| WELL_KNOWN.iter().position(|known| known.0 == name))
            .map_or(Known::NO, Known::at))
    }
}

/// The folders every mailbox has: well-known name, parent, hidden, names in three languages.
pub(super) const WELL_KNOWN: &[(&str, &str, bool, [&str; 3])] = &[
    (
        "msgfolderroot",
        "",
        false,
        ["Top of Information Store", "Oberste Ebene des Informationsspeichers", "Racine"],
    ),
    ("recoverableitemsroot", "", true, ["Recoverable Items", "Recoverable Items", "Recoverable Items"]),
    ("inbox", "msgfolderroot", false, ["Inbox", "Posteingang", "Boîte de réception"]),
    ("drafts", "msgfolderroot", false, ["Drafts", "Entwürfe", "Brouillons"]),
    ("sentitems", "msgfolderroot", false, ["Sent Items", "Gesendete Elemente", "Éléments envoyés"]),
    ("deleteditems", "msgfolderroot", false, ["Deleted Items", "Gelöschte Elemente", "Éléments supprimés"]),
    ("junkemail", "msgfolderroot", false, ["Junk Email", "Junk-E-Mail", "Courrier indésirable"]),
    ("archive", "msgfolderroot", false, ["Archive", "Archiv", "Archive"]),
    ("outbox", "msgfolderroot", false, ["Outbox", "Postausgang", "Boîte d’envoi"]),
    (
        "conversationhistory",
        "msgfolderroot",
        false,
        ["Conversation History", "Aufgezeichnete Unterhaltungen", "Historique des conversations"],
    ),
    (
        "syncissues",
        "msgfolderroot",
        true,
        ["Sync Issues", "Synchronisierungsprobleme", "Problèmes de synchronisation"],
    ),
    ("conflicts", "syncissues", true, ["Conflicts", "Konflikte", "Conflits"]),
    ("localfailures", "syncissues", true, ["Local Failures", "Lokale Fehler", "Échecs locaux"]),
    ("serverfailures", "syncissues", true, ["Server Failures", "Serverfehler", "Échecs serveur"]),
    ("searchfolders", "", true, ["Finder", "Finder", "Finder"]),
    ("recoverableitemsdeletions", "recoverableitemsroot", true, ["Deletions", "Deletions", "Deletions"]),
];
