//! Which application permissions the ways of writing into Microsoft 365 need, now and after the change of 2026-12-31, and
//! which of them our tokens name.
//!
//! A token is read for advice only. What it does not name may be granted all the same: roles that Exchange gives an app
//! (RBAC for Applications) stand in no token. So a missing permission is told and fails nothing.
//! Source: Microsoft Graph documentation, `mailfolder-importmime`, `mailbox-createimportsession`, and the announcement of
//! 2026-03-24 about changes of sensitive properties.

use std::collections::BTreeMap;

use super::mailboxes::Checked;
use crate::cli::talk::Talk;
use crate::config::{Settings, TargetKind};
use crate::http::oauth::Claims;
use crate::model::WriteMode;
use crate::report::{Align, table};

/// What one way of writing needs.
struct Way {
    /// As `modes` names it.
    name: &'static str,
    /// Every one of them.
    needs: &'static [&'static str],
    /// What changes on 2026-12-31.
    later: &'static str,
}

const JSON: Way = Way {
    name: "json",
    needs: &["Mail.ReadWrite"],
    later: "works without Mail-Advanced.ReadWrite.All: copies get only flags, categories, attachments and a property of our own \
            after their creation, and the announcement names none of these",
};
const IMPORT_MIME: Way = Way {
    name: "import-mime",
    needs: &["Mail.ReadWrite", "Mail-Advanced.ReadWrite.All"],
    later: "needs Mail-Advanced.ReadWrite.All now and then",
};
const IMPORT_STREAM: Way = Way {
    name: "import-stream",
    needs: &["Mail.ReadWrite", "MailboxItem.ImportExport.All", "MailboxFolder.ReadWrite.All"],
    later: "is not named by the announcement",
};
/// Exchange Web Services of Exchange Online.
const EWS: Way = Way {
    name: "ews",
    needs: &["full_access_as_app"],
    later: "is not concerned; Exchange Online ends EWS on 2027-04-01",
};

/// One way of one app.
pub(super) struct Line {
    endpoint: String,
    app: Option<String>,
    tenant: Option<String>,
    mailboxes: u64,
    way: &'static Way,
    /// Each permission, and whether the token names it; `None`: it names no permissions at all.
    needs: Vec<(&'static str, Option<bool>)>,
}

impl Line {
    fn new(endpoint: &str, claims: &Claims, mailboxes: u64, way: &'static Way) -> Line {
        let named = |role: &&'static str| (*role, claims.roles.as_ref().map(|all| all.contains(*role)));
        Line {
            endpoint: endpoint.to_owned(),
            app: claims.app.clone(),
            tenant: claims.tenant.clone(),
            mailboxes,
            way,
            needs: way.needs.iter().map(named).collect(),
        }
    }

    fn missing(&self) -> Vec<&'static str> {
        self.needs.iter().filter(|(_, named)| *named == Some(false)).map(|(role, _)| *role).collect()
    }

    /// What to do about permissions the token does not name.
    fn advice(&self) -> Option<String> {
        let missing = self.missing();
        if missing.is_empty() {
            return None;
        }
        let (endpoint, way, missing) = (&self.endpoint, self.way.name, missing.join(" and "));
        let meanwhile = match way {
            "json" | "ews" => {
                "unless Exchange grants it as a role (RBAC for Applications), which no token names"
            }
            _ => "or take the mode out of `modes`; until then messages go by the next one",
        };
        Some(format!(
            "{endpoint}: the token does not name {missing}, which {way} needs: grant it to the app in Entra (application \
             permission, admin consent), {meanwhile}"
        ))
    }
}

/// Every way of every app that came with a token.
pub(super) fn look(settings: &Settings, checked: &[Checked<'_>]) -> Vec<Line> {
    let mut apps: BTreeMap<(&str, Option<&str>), (&Claims, u64)> = BTreeMap::new();
    for one in checked {
        if let Some(claims) = one.claims() {
            apps.entry((one.endpoint(), claims.app.as_deref())).or_insert((claims, 0)).1 += 1;
        }
    }
    apps.into_iter()
        .flat_map(|((endpoint, _), (claims, mailboxes))| {
            let ways = settings.targets.get(endpoint).map(ways).unwrap_or_default();
            ways.into_iter().map(move |way| Line::new(endpoint, claims, mailboxes, way))
        })
        .collect()
}

fn ways(target: &TargetKind) -> Vec<&'static Way> {
    match target {
        TargetKind::Graph(graph) => {
            let way = |mode: &WriteMode| match mode {
                WriteMode::Json => Some(&JSON),
                WriteMode::ImportMime => Some(&IMPORT_MIME),
                WriteMode::ImportStream => Some(&IMPORT_STREAM),
                WriteMode::Usual => None,
            };
            graph.modes.iter().filter_map(way).collect()
        }
        TargetKind::Ews(_) => vec![&EWS],
        TargetKind::Imap(_) | TargetKind::Maildir(_) => Vec::new(),
    }
}

pub(super) fn json(lines: &[Line]) -> serde_json::Value {
    lines
        .iter()
        .map(|line| {
            let needs: Vec<_> = line
                .needs
                .iter()
                .map(|(role, named)| serde_json::json!({ "permission": role, "in_token": named }))
                .collect();
            serde_json::json!({
                "endpoint": line.endpoint,
                "app": line.app,
                "tenant": line.tenant,
                "mailboxes": line.mailboxes,
                "mode": line.way.name,
                "needs": needs,
                "from_2026_12_31": line.way.later,
                "advice": line.advice(),
            })
        })
        .collect()
}

pub(super) fn print(lines: &[Line], talk: &Talk) {
    if lines.is_empty() {
        return;
    }
    let header = ["mode", "endpoint", "app", "permission", "in the token"].map(|t| (t, Align::Left));
    let mut rows = Vec::new();
    for line in lines {
        for (role, named) in &line.needs {
            rows.push(vec![
                line.way.name.to_owned(),
                line.endpoint.clone(),
                line.app.clone().unwrap_or_else(|| "-".to_owned()),
                (*role).to_owned(),
                named.map_or("it names none", |named| if named { "yes" } else { "no" }).to_owned(),
            ]);
        }
    }
    talk.data(&table(&header, &rows));
    for line in lines {
        if let Some(advice) = line.advice() {
            talk.say(&advice);
        }
    }
    let mut told: Vec<&str> = Vec::new();
    for line in lines {
        if !told.contains(&line.way.name) {
            told.push(line.way.name);
            talk.say(&format!("from 2026-12-31 on, {} {}", line.way.name, line.way.later));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(roles: Option<&[&str]>) -> Claims {
        Claims {
            tenant: None,
            app: None,
            roles: roles.map(|all| all.iter().map(|r| (*r).to_owned()).collect()),
        }
    }

    #[test]
    fn a_permission_the_token_does_not_name_is_told_with_what_to_do() {
        let line = Line::new("new", &claims(Some(&["Mail.ReadWrite"])), 1, &IMPORT_MIME);
        assert_eq!(
            line.advice().expect("advice"),
            "new: the token does not name Mail-Advanced.ReadWrite.All, which import-mime needs: grant it to the app in Entra \
             (application permission, admin consent), or take the mode out of `modes`; until then messages go by the next one"
        );
        let line = Line::new("new", &claims(Some(&[])), 1, &JSON);
        assert_eq!(
            line.advice().expect("advice"),
            "new: the token does not name Mail.ReadWrite, which json needs: grant it to the app in Entra (application \
             permission, admin consent), unless Exchange grants it as a role (RBAC for Applications), which no token names"
        );
    }

    #[test]
    fn a_token_that_names_all_or_says_nothing_asks_for_nothing() {
        assert!(
            Line::new("new", &claims(Some(&["Mail.ReadWrite", "User.Read.All"])), 1, &JSON)
                .advice()
                .is_none()
        );
        assert!(Line::new("new", &claims(None), 1, &IMPORT_STREAM).advice().is_none());
    }
}
