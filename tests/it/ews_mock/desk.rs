//! A mock and a client of a few lines: requests as text, answers as text.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use mailwave::mock::ews::{EwsMock, EwsOptions, Fault, FaultRule, FaultScript, MessageTruth, When};
use mailwave::mock::{Wire, World};

pub(super) const ANN: &str = "ann@example.org";
const GUID: &str = "8ecce264-1111-4222-8333-444455556666";
/// Not an operation.
pub(super) const STAMP: &str = "<m:Stamp/>";

/// A world whose time is tokio's, which tests pause.
struct Paused {
    start: tokio::time::Instant,
}

impl World for Paused {
    fn now(&self) -> i64 {
        1_800_000_000_000 + i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
    fn sleep(&self, d: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(d))
    }
}

pub(super) fn world() -> Arc<dyn World> {
    Arc::new(Paused { start: tokio::time::Instant::now() })
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    #[track_caller]
    pub(super) fn good(self) -> Answer {
        let codes = self.codes();
        assert!(self.status == 200 && codes.iter().all(|c| c == "NoError"), "{} {}", self.status, self.text);
        assert!(!codes.is_empty(), "{}", self.text);
        self
    }

    #[track_caller]
    pub(super) fn fault(self, code: &str) {
        let expected = format!(
            "<faultcode xmlns:a=\"http://schemas.microsoft.com/exchange/services/2006/types\">a:{code}<"
        );
        assert!(self.status == 500 && self.text.contains(&expected), "{} {}", self.status, self.text);
    }

    /// The response code of each thing asked for.
    pub(super) fn codes(&self) -> Vec<String> {
        self.all("m:ResponseCode")
    }

    /// The texts of all elements of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        for rest in self.text.split(&format!("<{name}")).skip(1) {
            if let Some((head, body)) = rest.split_once('>')
                && (head.is_empty() || head.starts_with(' '))
                && !head.ends_with('/')
            {
                found.push(body.split('<').next().unwrap_or("").to_owned());
            }
        }
        found
    }

    fn attributes(&self, element: &str, name: &str) -> Vec<String> {
        let of = |rest: &str| {
            let head = rest.split('>').next()?;
            let (_, value) = head.split_once(&format!(" {name}=\""))?;
            value.split('"').next().map(str::to_owned)
        };
        self.text.split(&format!("<{element}")).skip(1).filter_map(of).collect()
    }

    pub(super) fn item_ids(&self) -> Vec<String> {
        self.attributes("t:ItemId", "Id")
    }

    #[track_caller]
    pub(super) fn item_id(&self) -> String {
        self.item_ids().into_iter().next().expect("an item's id")
    }

    #[track_caller]
    pub(super) fn change_key(&self) -> String {
        self.attributes("t:ItemId", "ChangeKey").into_iter().next().expect("a change key")
    }
}

pub(super) struct Desk {
    pub(super) mock: Arc<EwsMock>,
    pub(super) basic: String,
}

impl Desk {
    pub(super) fn new(options: EwsOptions) -> Desk {
        Desk::of(EwsMock::new(options, world()))
    }

    pub(super) fn of(mock: Arc<EwsMock>) -> Desk {
        Desk { mock, basic: basic("migrator@example.org", "secret") }
    }

    pub(super) fn envelope(&self, operation: &str) -> String {
        envelope_for(ANN, operation)
    }

    /// An operation in Ann's mailbox.
    pub(super) async fn call(&self, operation: &str) -> Answer {
        self.try_call(operation).await.expect("an answer")
    }

    pub(super) async fn try_call(&self, operation: &str) -> Option<Answer> {
        self.post(Some(&self.basic), Some(ANN), &self.envelope(operation)).await
    }

    pub(super) async fn send(&self, authorization: Option<&str>, anchor: Option<&str>, body: &str) -> Answer {
        self.post(authorization, anchor, body).await.expect("an answer")
    }

    async fn post(&self, authorization: Option<&str>, anchor: Option<&str>, body: &str) -> Option<Answer> {
        let mut request = http::Request::post("https://mail.test/EWS/Exchange.asmx")
            .header("content-type", "text/xml; charset=utf-8");
        for (name, value) in [("authorization", authorization), ("x-anchormailbox", anchor)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        answered(self.mock.handle(request).await)
    }

    pub(super) async fn request(&self, method: &Method, path: &str, kind: &str, body: &str) -> u16 {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .header("authorization", &self.basic)
            .header("x-anchormailbox", ANN)
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        answered(self.mock.handle(request).await).expect("an answer").status
    }

    /// A token as an `Authorization` header.
    pub(super) async fn token(&self, secret: &str) -> Option<String> {
        let form = format!(
            "grant_type=client_credentials&client_id=app&client_secret={secret}&scope=https%3A%2F%2Foutlook.test%2F.default"
        );
        let request = http::Request::post("https://login.test/tenant/oauth2/v2.0/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .unwrap();
        let answer = answered(self.mock.handle(request).await)?;
        let json: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        Some(format!("Bearer {}", json["access_token"].as_str()?))
    }

    /// What lies in a folder of Ann's, in truth.
    pub(super) fn folder(&self, path: &str) -> Vec<MessageTruth> {
        self.mock.truth().mailboxes.get(ANN).map(|m| m.folders[path].messages.clone()).unwrap_or_default()
    }

    pub(super) fn fault(&self, when: When, fault: Fault) {
        let rule = FaultRule {
            name: "it".into(),
            operation: String::new(),
            mailbox: String::new(),
            when,
            at_most: 0,
            fault,
        };
        self.mock.faults(FaultScript { seed: 1, rules: vec![rule] });
    }
}

fn answered(wire: Wire) -> Option<Answer> {
    let Wire::Answered(response) = wire else { return None };
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Some(Answer { status: head.status.as_u16(), headers: head.headers, text })
}

pub(super) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", encodify::base64::STANDARD.encode(format!("{name}:{password}")))
}

pub(super) fn envelope_for(address: &str, operation: &str) -> String {
    let header = format!(
        "<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>{address}</t:PrimarySmtpAddress>\
         </t:ConnectingSID></t:ExchangeImpersonation>"
    );
    envelope(&header, operation)
}

pub(super) fn envelope(header: &str, operation: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\"><s:Header>\
         <t:RequestServerVersion Version=\"Exchange2013_SP1\"/>{header}</s:Header><s:Body>{operation}</s:Body></s:Envelope>"
    )
}

/// A small message, in base64.
pub(super) fn mime(number: u32) -> String {
    let text = format!(
        "From: bo@example.org\r\nSubject: s{number}\r\nDate: Tue, 02 Jan 2001 03:04:05 +0000\r\n\
         Message-ID: <{number}@example.org>\r\n\r\nHello {number}\r\n"
    );
    encodify::base64::STANDARD.encode(text)
}

pub(super) fn message(inner: &str) -> String {
    format!("<t:Message>{inner}</t:Message>")
}

/// A message with extended properties, and elements that come after them.
pub(super) fn given(number: u32, properties: &str, after: &str) -> String {
    message(&format!("<t:MimeContent>{}</t:MimeContent>{properties}{after}", mime(number)))
}

pub(super) fn tag(tag: &str, kind: &str, value: &str) -> String {
    format!(
        "<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag=\"{tag}\" PropertyType=\"{kind}\"/>\
         <t:Value>{value}</t:Value></t:ExtendedProperty>"
    )
}

fn stamp_path() -> String {
    format!("<t:ExtendedFieldURI PropertySetId=\"{GUID}\" PropertyName=\"Stamp\" PropertyType=\"String\"/>")
}

pub(super) fn stamp(value: &str) -> String {
    format!("<t:ExtendedProperty>{}<t:Value>{value}</t:Value></t:ExtendedProperty>", stamp_path())
}

fn known(folder: &str) -> String {
    format!("<t:DistinguishedFolderId Id=\"{folder}\"/>")
}

pub(super) fn create(folder: &str, items: &str) -> String {
    format!(
        "<m:CreateItem MessageDisposition=\"SaveOnly\"><m:SavedItemFolderId>{}</m:SavedItemFolderId>\
         <m:Items>{items}</m:Items></m:CreateItem>",
        known(folder)
    )
}

pub(super) fn get_folder(folder: &str) -> String {
    format!(
        "<m:GetFolder><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape><m:FolderIds>{}</m:FolderIds>\
         </m:GetFolder>",
        known(folder)
    )
}

pub(super) fn create_folder(parent: &str, name: &str) -> String {
    format!(
        "<m:CreateFolder><m:ParentFolderId>{}</m:ParentFolderId><m:Folders><t:Folder>\
         <t:FolderClass>IPF.Note</t:FolderClass><t:DisplayName>{name}</t:DisplayName></t:Folder></m:Folders>\
         </m:CreateFolder>",
        known(parent)
    )
}

pub(super) fn find_folder(parent: &str, traversal: &str, most: u32, offset: u32) -> String {
    format!(
        "<m:FindFolder Traversal=\"{traversal}\"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>\
         <m:IndexedPageFolderView MaxEntriesReturned=\"{most}\" Offset=\"{offset}\" BasePoint=\"Beginning\"/>\
         <m:ParentFolderIds>{}</m:ParentFolderIds></m:FindFolder>",
        known(parent)
    )
}

fn item_id(id: &str, key: Option<&str>) -> String {
    let key = key.map_or_else(String::new, |k| format!(" ChangeKey=\"{k}\""));
    format!("<t:ItemId Id=\"{id}\"{key}/>")
}

pub(super) fn get_item(id: &str) -> String {
    format!(
        "<m:GetItem><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:IncludeMimeContent>true</t:IncludeMimeContent>\
         </m:ItemShape><m:ItemIds>{}</m:ItemIds></m:GetItem>",
        item_id(id, None)
    )
}

pub(super) fn move_item(to: &str, id: &str) -> String {
    format!(
        "<m:MoveItem><m:ToFolderId>{}</m:ToFolderId><m:ItemIds>{}</m:ItemIds></m:MoveItem>",
        known(to),
        item_id(id, None)
    )
}

/// Stamps that begin so.
pub(super) fn prefixed(text: &str) -> String {
    format!(
        "<m:Restriction><t:Contains ContainmentMode=\"Prefixed\" ContainmentComparison=\"Exact\">{}\
         <t:Constant Value=\"{text}\"/></t:Contains></m:Restriction>",
        stamp_path()
    )
}

pub(super) fn find_item(folder: &str, restriction: &str) -> String {
    format!(
        "<m:FindItem Traversal=\"Shallow\"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>{}\
         </t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView MaxEntriesReturned=\"500\" Offset=\"0\" \
         BasePoint=\"Beginning\"/>{restriction}<m:ParentFolderIds>{}</m:ParentFolderIds></m:FindItem>",
        stamp_path(),
        known(folder)
    )
}

fn update(id: &str, key: Option<&str>, how: &str, path: &str, inner: &str) -> String {
    format!(
        "<m:UpdateItem ConflictResolution=\"{how}\" MessageDisposition=\"SaveOnly\"><m:ItemChanges><t:ItemChange>{}\
         <t:Updates><t:SetItemField>{path}<t:Message>{inner}</t:Message></t:SetItemField></t:Updates></t:ItemChange>\
         </m:ItemChanges></m:UpdateItem>",
        item_id(id, key)
    )
}

pub(super) fn update_property(id: &str, number: &str, kind: &str, value: &str) -> String {
    let path = format!("<t:ExtendedFieldURI PropertyTag=\"{number}\" PropertyType=\"{kind}\"/>");
    update(id, None, "AlwaysOverwrite", &path, &tag(number, kind, value))
}

pub(super) fn update_read(id: &str, key: Option<&str>, how: &str, read: bool) -> String {
    let path = "<t:FieldURI FieldURI=\"message:IsRead\"/>";
    update(id, key, how, path, &format!("<t:IsRead>{read}</t:IsRead>"))
}

pub(super) fn sync(folder: &str, state: &str, most: u32) -> String {
    let state = if state.is_empty() { String::new() } else { format!("<m:SyncState>{state}</m:SyncState>") };
    format!(
        "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape><m:SyncFolderId>{}\
         </m:SyncFolderId>{state}<m:MaxChangesReturned>{most}</m:MaxChangesReturned></m:SyncFolderItems>",
        known(folder)
    )
}

pub(super) fn export(id: &str) -> String {
    format!("<m:ExportItems><m:ItemIds>{}</m:ItemIds></m:ExportItems>", item_id(id, None))
}

pub(super) fn upload(folder: &str, data: &str) -> String {
    format!(
        "<m:UploadItems><m:Items><t:Item CreateAction=\"CreateNew\"><t:ParentFolderId Id=\"{folder}\"/>\
         <t:Data>{data}</t:Data></t:Item></m:Items></m:UploadItems>"
    )
}

/// The wait an answer tells, in milliseconds.
pub(super) fn backoff(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Name=\"BackOffMilliseconds\">")?;
    rest.split('<').next()?.parse().ok()
}
