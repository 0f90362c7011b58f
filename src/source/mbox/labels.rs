//! Gmail's labels, as its export (Takeout) writes them into `X-Gmail-Labels`: labels → one folder, flags, keywords.
//!
//! The policy: a message goes to one folder. The first label that a user made, in the order of the field, is the
//! folder; without one it is the first of Inbox, Sent, Drafts, Spam (as Junk), Trash that the message carries, else
//! Archive. The other user labels become keywords. `Starred` is `\Flagged`, without `Unread` it is `\Seen`, `Important`
//! and the categories become keywords. A `/` in a label nests.

use crate::model::Flags;
use crate::source::label::keyword;

/// Most labels read of one message.
const MAX_LABELS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum System {
    Inbox,
    Sent,
    Drafts,
    Spam,
    Trash,
    Archived,
    Starred,
    Unread,
    Opened,
    Important,
}

/// System labels in lower case. The export writes them in the user's language; these are English and German, Spanish,
/// French and Italian. A label of another language becomes a folder of that name: nothing is lost.
const SYSTEM: &[(System, &[&str])] = &[
    (System::Inbox, &["inbox", "posteingang", "recibidos", "boîte de réception", "posta in arrivo"]),
    (System::Sent, &["sent", "gesendet", "enviados", "messages envoyés", "posta inviata", "inviati"]),
    (System::Drafts, &["drafts", "draft", "entwürfe", "borradores", "brouillons", "bozze"]),
    (System::Spam, &["spam"]),
    (System::Trash, &["trash", "papierkorb", "papelera", "corbeille", "cestino"]),
    (System::Archived, &["archived", "archiviert", "archivados", "archivés", "archiviati"]),
    (System::Starred, &["starred", "markiert", "destacados", "messages suivis", "speciali"]),
    (System::Unread, &["unread", "ungelesen", "no leídos", "non lus", "da leggere"]),
    (System::Opened, &["opened", "geöffnet", "abiertos", "ouvert", "aperti"]),
    (System::Important, &["important", "wichtig", "importantes", "importanti"]),
];

fn system(label: &str) -> Option<System> {
    let label = label.to_lowercase();
    SYSTEM.iter().find(|(_, names)| names.contains(&label.as_str())).map(|(system, _)| *system)
}

/// Where a message with these labels goes, and what they say about it.
pub(super) fn place(text: &str, flags: &mut Flags) -> Vec<String> {
    let mut home: Option<Vec<String>> = None;
    let mut systems = Vec::new();
    for label in split(text) {
        if let Some(system) = system(&label) {
            systems.push(system);
            continue;
        }
        let category = label.to_lowercase().starts_with("category ");
        let names: Vec<String> = label
            .split('/')
            .map(|name| name.trim().replace(char::is_control, "_"))
            .filter(|name| !name.is_empty())
            .collect();
        if !category && home.is_none() && !names.is_empty() {
            home = Some(names);
        } else {
            keyword(&label, flags);
        }
    }
    flags.seen |= !systems.contains(&System::Unread);
    flags.flagged |= systems.contains(&System::Starred);
    flags.draft |= systems.contains(&System::Drafts);
    if systems.contains(&System::Important) {
        flags.add("$Important"); // RFC 8457
    }
    home.unwrap_or_else(|| {
        let name = match systems.iter().min() {
            Some(System::Inbox) => "INBOX",
            Some(System::Sent) => "Sent",
            Some(System::Drafts) => "Drafts",
            Some(System::Spam) => "Junk",
            Some(System::Trash) => "Trash",
            _ => "Archive",
        };
        vec![name.to_owned()]
    })
}

/// Labels separated by commas; one with a comma in it stands in quotes.
fn split(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut label = String::new();
    let mut quoted = false;
    for c in text.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                let done = std::mem::take(&mut label);
                if !done.trim().is_empty() && out.len() < MAX_LABELS {
                    out.push(done.trim().to_owned());
                }
            }
            c => label.push(c),
        }
    }
    if !label.trim().is_empty() && out.len() < MAX_LABELS {
        out.push(label.trim_end_matches(',').trim().to_owned());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_one_folder_flags_and_keywords() {
        for (text, folder, flags) in [
            ("Inbox,Unread", &["INBOX"][..], ""),
            ("Opened,Inbox,Starred", &["INBOX"], "FS"),
            ("Inbox,Work/Plans,Important,Family", &["Work", "Plans"], "S $Important Family"),
            ("Sent,Opened", &["Sent"], "S"),
            ("Trash,Sent", &["Sent"], "S"),
            ("Drafts", &["Drafts"], "DS"),
            ("Spam,Category Promotions,Unread", &["Junk"], " Category_Promotions"),
            ("Archived,Opened", &["Archive"], "S"),
            ("", &["Archive"], "S"),
            ("Posteingang,Ungelesen,\"a, b\",///", &["a, b"], " ///"),
            ("Спорт,日本", &["Спорт"], "S 日本"),
            ("\"open,x", &["open,x"], "S"),
        ] {
            let mut got = Flags::default();
            assert_eq!(place(text, &mut got), folder, "{text}");
            assert_eq!(got.encode(), flags, "{text}");
        }
    }
}
