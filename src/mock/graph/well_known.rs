//! The folders that have names of their own, and what they are called in a mailbox's language.

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
