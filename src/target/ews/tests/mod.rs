//! The client against scripted answers: what it sends, and what it makes of what comes back.

mod change;
mod find;
mod folders;
mod login;
mod store;
mod upload;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::http::{Delivery, InProcess};
use crate::model::{Body, FolderId, FolderPath, Form, MailboxKey, SourceName, Stamp};

type Answer = Box<dyn FnOnce(&str) -> Delivery + Send>;

/// A server that answers as it was told, and remembers what it was asked.
#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    /// (`Authorization`, `X-AnchorMailbox`, body)
    asked: Vec<(Option<String>, Option<String>, String)>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Script>>);

impl Server {
    fn then(&self, answer: impl FnOnce(&str) -> Delivery + Send + 'static) -> &Server {
        self.0.lock().expect("script").answers.push_back(Box::new(answer));
        self
    }

    fn says(&self, body: String) -> &Server {
        self.then(move |_| delivered(200, &[], body))
    }

    fn asked(&self) -> Vec<(Option<String>, Option<String>, String)> {
        self.0.lock().expect("script").asked.clone()
    }

    fn ops(&self) -> Vec<String> {
        let op = |body: &str| {
            let at = body.find("<s:Body><m:").expect("a body") + 11;
            body[at..].chars().take_while(char::is_ascii_alphanumeric).collect()
        };
        self.asked().iter().map(|(_, _, body)| op(body)).collect()
    }

    fn last(&self) -> String {
        self.asked().pop().expect("a request").2
    }

    fn target(&self, change: impl FnOnce(&mut EwsSettings)) -> EwsTarget {
        let script = self.0.clone();
        let http = InProcess::new(&Env::system(), move |request| {
            let mut script = script.lock().expect("script");
            let field = |name: &str| {
                request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            };
            let body = String::from_utf8(request.body().to_vec()).expect("UTF-8");
            script.asked.push((field("authorization"), field("x-anchormailbox"), body.clone()));
            let answer = script.answers.pop_front();
            let delivery = answer.map_or_else(|| panic!("not expected: {body}"), |answer| answer(&body));
            async move { delivery }
        });
        let login = EwsLogin::Basic { user: "EX\\migrator".to_owned(), password: "secret".into() };
        let mut settings = EwsSettings::new("https://mail.example.org/EWS/Exchange.asmx", login);
        change(&mut settings);
        EwsTarget::new(&Env::system(), Arc::new(http), settings).expect("settings")
    }

    /// A mailbox opened after the usual challenge.
    async fn open(&self, change: impl FnOnce(&mut EwsSettings)) -> Arc<dyn TargetMailbox> {
        self.then(|_| challenge("Basic realm=\"x\"")).says(roots());
        let target = self.target(change);
        target.open("ann@example.org", "", Gate::unlimited(&Env::system())).await.expect("open")
    }
}

fn delivered(status: u16, fields: &[(&str, &str)], body: String) -> Delivery {
    let mut answer = http::Response::builder().status(status);
    for (name, value) in fields {
        answer = answer.header(*name, *value);
    }
    Delivery::Answered(answer.body(Bytes::from(body)).expect("an answer"))
}

fn challenge(offer: &str) -> Delivery {
    delivered(401, &[("WWW-Authenticate", offer)], String::new())
}

fn response(op: &str, messages: &[String]) -> String {
    format!(
        "<s:Envelope xmlns:s=\"s\" xmlns:m=\"m\" xmlns:t=\"t\"><s:Body><m:{op}Response><m:ResponseMessages>{}\
         </m:ResponseMessages></m:{op}Response></s:Body></s:Envelope>",
        messages.concat()
    )
}

fn done(op: &str, inner: &str) -> String {
    format!(
        "<m:{op}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}</m:{op}ResponseMessage>"
    )
}

fn failed(op: &str, code: &str) -> String {
    let class = if code == "ErrorBatchProcessingStopped" { "Warning" } else { "Error" };
    format!(
        "<m:{op}ResponseMessage ResponseClass=\"{class}\"><m:MessageText>no</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode></m:{op}ResponseMessage>"
    )
}

fn busy(ms: u32) -> String {
    format!(
        "<s:Envelope xmlns:s=\"s\"><s:Body><s:Fault><faultcode>a:ErrorServerBusy</faultcode><detail>\
         <ResponseCode>ErrorServerBusy</ResponseCode><MessageXml><Value Name=\"BackOffMilliseconds\">{ms}</Value>\
         </MessageXml></detail></s:Fault></s:Body></s:Envelope>"
    )
}

fn folder(id: &str) -> String {
    format!("<m:Folders><t:Folder><t:FolderId Id=\"{id}\"/></t:Folder></m:Folders>")
}

fn roots() -> String {
    let ids = ["root", "inbox", "drafts", "sent", "deleted", "junk"];
    response("GetFolder", &ids.map(|id| done("GetFolder", &folder(id))))
}

/// (id, parent, name, class)
fn tree(folders: &[(&str, &str, &str, &str)]) -> String {
    let list: String = folders
        .iter()
        .map(|(id, parent, name, class)| {
            format!(
                "<t:Folder><t:FolderId Id=\"{id}\"/><t:ParentFolderId Id=\"{parent}\"/>\
                 <t:FolderClass>{class}</t:FolderClass><t:DisplayName>{name}</t:DisplayName></t:Folder>"
            )
        })
        .collect();
    let total = folders.len();
    response(
        "FindFolder",
        &[done(
            "FindFolder",
            &format!(
                "<m:RootFolder TotalItemsInView=\"{total}\" IncludesLastItemInRange=\"true\"><t:Folders>{list}</t:Folders></m:RootFolder>"
            ),
        )],
    )
}

fn created(id: &str) -> String {
    done(
        "CreateItem",
        &format!("<m:Items><t:Message><t:ItemId Id=\"{id}\" ChangeKey=\"c\"/></t:Message></m:Items>"),
    )
}

fn stamp(number: u64) -> Stamp {
    let source: SourceName = "acme".parse().expect("valid");
    Stamp { mailbox: MailboxKey::of(&source, "ann"), source, folder: FolderId(1), epoch: 7, number }
}

fn items(count: u64) -> Vec<StoreItem> {
    (1..=count)
        .map(|n| StoreItem {
            stamp: stamp(n),
            body: Body::from_bytes(Bytes::from(format!("Subject: {n}\r\n\r\n{n}\r\n"))),
            form: Form::Mime,
            flags: Flags::default(),
            received: None,
        })
        .collect()
}

async fn stores(mailbox: &Arc<dyn TargetMailbox>, items: Vec<StoreItem>) -> Vec<Outcome> {
    let ticket = Gate::unlimited(&Env::system()).lookup();
    mailbox.store(&TargetFolderId("inbox".to_owned()), items, ticket).await
}

/// `s` stored, `r` refused, `n` not sent, `u` unknown.
fn letters(outcomes: &[Outcome]) -> String {
    let letter = |one: &Outcome| match one {
        Outcome::Stored { .. } => 's',
        Outcome::Refused(_) => 'r',
        Outcome::NotSent(_) => 'n',
        Outcome::Unknown(_) => 'u',
    };
    outcomes.iter().map(letter).collect()
}

fn messages_in(body: &str) -> usize {
    body.matches("<t:Message>").count()
}

fn wanted(names: &[&str]) -> FolderWanted {
    let path = FolderPath::new(names.iter().map(|n| (*n).to_owned()).collect()).expect("names");
    FolderWanted { path, special: None, subscribed: None }
}

/// One message as found.
fn found(id: &str, number: u64) -> String {
    format!(
        "<t:Message><t:ItemId Id=\"{id}\"/><t:DateTimeCreated>1970-01-01T00:00:01Z</t:DateTimeCreated>\
         <t:ExtendedProperty><t:ExtendedFieldURI PropertySetId=\"B5D4F0B6-7A0E-4A39-9D5E-5C1F6A2E9D41\" \
         PropertyName=\"MailwaveStamp\" PropertyType=\"String\"/><t:Value>{}/done</t:Value></t:ExtendedProperty>\
         <t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"0x1090\" PropertyType=\"Integer\"/><t:Value>2</t:Value>\
         </t:ExtendedProperty><t:IsRead>true</t:IsRead></t:Message>",
        stamp(number)
    )
}

fn page(items: &[String], offset: usize, total: usize) -> String {
    let end = offset + items.len();
    done(
        "FindItem",
        &format!(
            "<m:RootFolder IndexedPagingOffset=\"{end}\" TotalItemsInView=\"{total}\" IncludesLastItemInRange=\"{}\">\
             <t:Items>{}</t:Items></m:RootFolder>",
            end == total,
            items.concat()
        ),
    )
}

fn copy(id: &str) -> CopyRef {
    CopyRef { folder: TargetFolderId("a".to_owned()), id: id.to_owned() }
}
