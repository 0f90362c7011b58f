//! What Graph tells of a mailbox before anything is written: for `mailwave check`.
//!
//! It tells no quota to an app that may only read and write mail: storage stands in reports of the whole tenant, days
//! old, which need a permission of their own (`Reports.Read.All`). So the room is not known here.

use std::collections::VecDeque;

use bytes::Bytes;
use http::Method;

use super::folders::{STEP, WHAT};
use super::session::{Session, segment, unreadable};
use super::{answer, answer::Fault};
use crate::http::oauth::Claims;
use crate::model::{Error, Kind, Result, Scope};
use crate::target::{Probe, Told};

/// Folders that are looked below, at most: more levels than any mailbox has.
const MOST_FOLDERS: usize = 20_000;

/// Why the room is not told.
const NO_QUOTA: &str = "Graph tells an app with mail permissions no quota; in Exchange Online PowerShell `Get-Mailbox MAILBOX | \
                        Format-List ProhibitSendReceiveQuota` does, and `Get-MailboxStatistics MAILBOX` what is used";

/// Asks for the root, and then for every folder below it. `app`: how the operator named the app.
pub(super) async fn probe(
    session: &Session,
    login: Result<Claims>,
    app: &str,
    max_message_bytes: u64,
) -> Probe {
    let claims = match login {
        Ok(claims) => claims,
        Err(error) => return Probe { login: Some(Err(error.clone())), ..Probe::closed(error) },
    };
    let opened = root(session, &claims, app).await;
    let login = Some(Ok(claims));
    if let Err(error) = opened {
        return Probe { login, ..Probe::closed(error) };
    }
    let folders = match count(session).await {
        Ok(folders) => Told::Yes(folders),
        Err(fault) => Told::Failed(fault.into_error()),
    };
    Probe {
        login,
        opened: Ok(()),
        server: None,
        folders,
        room: Told::No(NO_QUOTA),
        max_message_bytes: Some(max_message_bytes),
    }
}

/// Asks for the root, once more if the service is busy; says of each refusal what it means for a migration.
async fn root(session: &Session, claims: &Claims, app: &str) -> Result<()> {
    const ROOT: &str = "the target mailbox";
    let call = session.call(Method::GET, "/mailFolders/msgfolderroot?$select=id", Bytes::new(), STEP, ROOT);
    let mut tries = 0;
    loop {
        tries += 1;
        let fault = match session.send(&session.lookup(), &call).await {
            Ok(reply) => {
                let code = reply.code();
                match reply.expect(&[200], ROOT) {
                    Ok(reply) => {
                        let root = reply.json().ok_or_else(|| unreadable(ROOT))?;
                        return answer::id(&root).map(|_| ()).ok_or_else(|| unreadable(ROOT));
                    }
                    Err(fault) => meant(fault, code.as_deref(), claims, app),
                }
            }
            Err(fault) => fault.into_error(),
        };
        if tries == 3 || !session.wait_before_retry(&fault, tries).await {
            return Err(fault);
        }
    }
}

/// The error with what to do about it.
fn meant(fault: Fault, code: Option<&str>, claims: &Claims, app: &str) -> Error {
    let error = fault.into_error();
    let error = if error.scope < Scope::Mailbox { error.scoped(Scope::Mailbox) } else { error };
    match (error.kind, code) {
        (Kind::Denied, _) => {
            let remedy = scope_remedy(claims, app);
            error.remedy(remedy)
        }
        (Kind::NotFound, Some("MailboxNotEnabledForRESTAPI" | "MailboxNotSupportedForRESTAPI")) => error.remedy(
            "the user is known, the mailbox is not in Exchange Online: it is still on premises, inactive, soft-deleted or \
             without a licence; license or enable it, or give it a target of kind \"ews\" where it is",
        ),
        (Kind::NotFound, _) => error.remedy(
            "no mailbox of this name: check the target address in the list, and that the user is provisioned and licensed",
        ),
        _ => error,
    }
}

/// What to do about 403.
fn scope_remedy(claims: &Claims, app: &str) -> String {
    let app = claims.app.as_deref().unwrap_or(if app.is_empty() { "APP" } else { app });
    let look = format!("`Test-ServicePrincipalAuthorization -Identity {app} -Resource MAILBOX`");
    let grant = "`New-ManagementRoleAssignment -App OBJECT_ID -Role \"Application Mail.ReadWrite\" \
                 -CustomResourceScope SCOPE`, with a scope that holds the mailbox";
    let tenant_wide = claims.roles.as_ref().is_some_and(|roles| {
        roles.iter().any(|role| role == "Mail.ReadWrite" || role == "Mail-Advanced.ReadWrite.All")
    });
    if tenant_wide {
        return format!(
            "the token holds the permission, so a policy keeps the app out of this mailbox: in Exchange Online PowerShell \
             `Test-ApplicationAccessPolicy -AppId {app} -Identity MAILBOX` and {look} tell which; widen it, or replace it by \
             {grant}"
        );
    }
    format!(
        "the mailbox is outside of what the app may enter, or it was granted nothing: in Exchange Online PowerShell {look} \
         tells; grant it with {grant} (or Mail.ReadWrite for all mailboxes in Entra, with admin consent)"
    )
}

/// Every folder below the root.
async fn count(session: &Session) -> Result<u64, Fault> {
    let select = "$top=100&$select=id,childFolderCount";
    let mut below = VecDeque::from([format!("/mailFolders?{select}")]);
    let (mut folders, mut looked) = (0u64, 0usize);
    while let Some(path) = below.pop_front() {
        looked += 1;
        if looked > MOST_FOLDERS {
            let what = format!("{WHAT}: the folders do not end");
            return Err(Fault::NotSent(Error::new(Kind::Protocol, Scope::Mailbox, what)));
        }
        for folder in session.list(&path, STEP, WHAT).await? {
            folders += 1;
            if let (Some(id), Some(1..)) = (answer::id(&folder), folder["childFolderCount"].as_u64()) {
                below.push_back(format!("/mailFolders/{}/childFolders?{select}", segment(id)));
            }
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_about_a_mailbox_the_app_may_not_enter_depends_on_what_it_was_granted() {
        let of = |app: Option<&str>, roles: Option<&[&str]>| Claims {
            tenant: None,
            app: app.map(str::to_owned),
            roles: roles.map(|all| all.iter().map(|r| (*r).to_owned()).collect()),
        };
        let kept_out = scope_remedy(&of(Some("0a"), Some(&["Mail.ReadWrite"])), "typed");
        assert!(kept_out.contains("Test-ApplicationAccessPolicy -AppId 0a -Identity MAILBOX"), "{kept_out}");
        assert!(kept_out.contains("Test-ServicePrincipalAuthorization -Identity 0a"), "{kept_out}");
        for (claims, named) in [(of(None, Some(&["User.Read.All"])), "typed"), (of(None, None), "typed")] {
            let remedy = scope_remedy(&claims, named);
            assert!(remedy.contains("-Identity typed -Resource MAILBOX"), "{remedy}");
            assert!(
                remedy.contains("-Role \"Application Mail.ReadWrite\" -CustomResourceScope SCOPE"),
                "{remedy}"
            );
            assert!(!remedy.contains("holds the permission"), "{remedy}");
        }
    }
}
