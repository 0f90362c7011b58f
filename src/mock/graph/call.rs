//! From a path, a method and a body to one thing to do. Nothing here knows what is stored.

use http::Method;

use super::exchange;
use super::head::Head;
use super::input::{self, AttachmentInput, MessageInput, UploadInput};
use super::mime;
use super::options::GraphOptions;
use super::query::{Of, View};
use super::reply::Refusal;

/// A message: its id, and the folder it was looked for in.
#[derive(Debug, Clone)]
pub(super) struct At {
    pub(super) folder: Option<String>,
    pub(super) id: String,
}

/// How a message comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Json,
    Mime,
    Import,
}

/// One thing to do in one mailbox. Folders are ids or well-known names.
#[derive(Debug, Clone)]
pub(super) enum Call {
    GetUser(View),
    ListFolders { parent: String, view: View },
    CreateFolder { parent: String, name: String, hidden: bool },
    GetFolder { id: String, view: View },
    RenameFolder { id: String, name: String },
    MoveFolder { id: String, to: String },
    CopyFolder { id: String, to: String },
    DeleteFolder { id: String },
    FolderDelta(View),
    MessageDelta { folder: String, view: View },
    TranslateIds { ids: Vec<String>, to_immutable: bool },
    ListMessages { folder: Option<String>, view: View },
    CreateMessage { folder: Option<String>, input: Box<MessageInput>, how: How },
    GetMessage { at: At, view: View },
    PatchMessage { at: At, input: Box<MessageInput> },
    MoveMessage { at: At, to: String },
    CopyMessage { at: At, to: String },
    DeleteMessage { at: At, for_good: bool },
    MessageMime { at: At },
    ListAttachments { at: At, view: View },
    AddAttachment { at: At, input: Box<AttachmentInput> },
    GetAttachment { at: At, id: String, view: View },
    AttachmentValue { at: At, id: String },
    DeleteAttachment { at: At, id: String },
    OpenUpload { at: At, input: UploadInput },
    Exchange(Box<exchange::Call>),
}

/// Reads a request below `/users/{user}`.
pub(super) fn read(
    head: &Head,
    rest: &[String],
    beta: bool,
    body: &[u8],
    options: &GraphOptions,
) -> Result<Call, Refusal> {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let request = Request { head, body };
    match rest.as_slice() {
        [] => request.only(&Method::GET).and_then(|()| Ok(Call::GetUser(request.view(Of::User)?))),
        ["mailFolders"] => request.folders("msgfolderroot"),
        ["translateExchangeIds"] => {
            request.only(&Method::POST)?;
            let (ids, to_immutable) = input::translation(&request.json()?)?;
            Ok(Call::TranslateIds { ids, to_immutable })
        }
        ["mailFolders", "delta"] => {
            request.only(&Method::GET)?;
            Ok(Call::FolderDelta(request.view(Of::FolderDelta)?))
        }
        ["mailFolders", folder, "messages", "delta"] => {
            request.only(&Method::GET)?;
            Ok(Call::MessageDelta { folder: (*folder).to_owned(), view: request.view(Of::MessageDelta)? })
        }
        ["mailFolders", id] => request.folder(id),
        ["mailFolders", id, "childFolders"] => request.folders(id),
        ["mailFolders", id, "move"] => {
            request.only(&Method::POST)?;
            Ok(Call::MoveFolder { id: (*id).to_owned(), to: input::destination(&request.json()?)? })
        }
        ["mailFolders", id, "copy"] => {
            request.only(&Method::POST)?;
            Ok(Call::CopyFolder { id: (*id).to_owned(), to: input::destination(&request.json()?)? })
        }
        ["mailFolders", id, "importMime"] if beta && options.import_mime => {
            request.only(&Method::POST)?;
            request.import(id, options)
        }
        ["settings", "exchange"] => exchange::settings(head, options),
        ["messages"] => request.messages(None, options),
        ["mailFolders", id, "messages"] => request.messages(Some(id), options),
        ["messages", id, more @ ..] => request.message(None, id, more),
        ["mailFolders", folder, "messages", id, more @ ..] => request.message(Some(folder), id, more),
        ["mailFolders", _, other, ..] => Err(Refusal::no_such_path(other)),
        [other, ..] => Err(Refusal::no_such_path(other)),
    }
}

struct Request<'a> {
    head: &'a Head,
    body: &'a [u8],
}

impl Request<'_> {
    fn only(&self, method: &Method) -> Result<(), Refusal> {
        if self.head.method == *method { Ok(()) } else { Err(Refusal::method()) }
    }

    fn view(&self, of: Of) -> Result<View, Refusal> {
        let mut view = View::read(self.head.query.as_deref(), of)?;
        if let (None, Some(page)) = (view.top, self.head.prefer.page) {
            (view.top, view.preferred) = (Some(page), Some(page));
        }
        Ok(view)
    }

    /// A JSON body, said to be one.
    fn json(&self) -> Result<super::json::Json<'_>, Refusal> {
        self.view(Of::Nothing)?;
        match self.head.content_type.as_deref() {
            Some("application/json") => input::document(self.body),
            None => Err(Refusal::body(
                "A null value was found for the property named 'Content-Type'; a write request must contain one.",
            )),
            Some(_) => Err(Refusal::new(415, "UnsupportedMediaType", "The content type is not supported.")),
        }
    }

    fn folders(&self, parent: &str) -> Result<Call, Refusal> {
        match self.head.method {
            Method::GET => Ok(Call::ListFolders { parent: parent.to_owned(), view: self.view(Of::Folders)? }),
            Method::POST => {
                let (name, hidden) = input::folder(&self.json()?, true)?;
                Ok(Call::CreateFolder { parent: parent.to_owned(), name: named(name)?, hidden })
            }
            _ => Err(Refusal::method()),
        }
    }

    fn folder(&self, id: &str) -> Result<Call, Refusal> {
        let id = id.to_owned();
        match self.head.method {
            Method::GET => Ok(Call::GetFolder { id, view: self.view(Of::Folder)? }),
            Method::PATCH => {
                let (name, _) = input::folder(&self.json()?, false)?;
                Ok(Call::RenameFolder { id, name: named(name)? })
            }
            Method::DELETE => self.view(Of::Nothing).map(|_| Call::DeleteFolder { id }),
            _ => Err(Refusal::method()),
        }
    }

    fn messages(&self, folder: Option<&str>, options: &GraphOptions) -> Result<Call, Refusal> {
        let to = folder.map(str::to_owned);
        match self.head.method {
            Method::GET => Ok(Call::ListMessages { folder: to, view: self.view(Of::Messages)? }),
            Method::POST if self.head.content_type.as_deref() == Some("text/plain") => {
                self.view(Of::Nothing)?;
                if folder.is_some() && !options.mime_to_folder {
                    return Err(Refusal::new(
                        400,
                        "UnableToDeserializePostBody",
                        "were unable to deserialize ",
                    ));
                }
                let input = Box::new(mime::read(self.body)?);
                Ok(Call::CreateMessage { folder: to, input, how: How::Mime })
            }
            Method::POST => {
                let input = Box::new(MessageInput::read(&self.json()?)?);
                Ok(Call::CreateMessage { folder: to, input, how: How::Json })
            }
            _ => Err(Refusal::method()),
        }
    }

    fn import(&self, folder: &str, options: &GraphOptions) -> Result<Call, Refusal> {
        self.view(Of::Nothing)?;
        if self.head.content_type.as_deref() != Some("text/plain") {
            return Err(Refusal::new(415, "UnsupportedMediaType", "The content type is not supported."));
        }
        if !options.mail_advanced {
            return Err(Refusal::new(
                403,
                "ErrorAccessDenied",
                "Access is denied. Check credentials and try again.",
            ));
        }
        let input = Box::new(mime::read(self.body)?);
        Ok(Call::CreateMessage { folder: Some(folder.to_owned()), input, how: How::Import })
    }

    fn message(&self, folder: Option<&str>, id: &str, more: &[&str]) -> Result<Call, Refusal> {
        let at = At { folder: folder.map(str::to_owned), id: id.to_owned() };
        let method = &self.head.method;
        match (more, method) {
            ([], &Method::GET) => Ok(Call::GetMessage { at, view: self.view(Of::Message)? }),
            ([], &Method::PATCH) => {
                let input = MessageInput::read(&self.json()?)?;
                if !input.attachments.is_empty() || input.headers.is_some() {
                    return Err(Refusal::new(
                        400,
                        "ErrorInvalidPropertySet",
                        "Attachments and header fields cannot be changed so.",
                    ));
                }
                Ok(Call::PatchMessage { at, input: Box::new(input) })
            }
            ([], &Method::DELETE) => {
                self.view(Of::Nothing).map(|_| Call::DeleteMessage { at, for_good: false })
            }
            (["permanentDelete"], &Method::POST) => Ok(Call::DeleteMessage { at, for_good: true }),
            (["move"], &Method::POST) => Ok(Call::MoveMessage { at, to: input::destination(&self.json()?)? }),
            (["copy"], &Method::POST) => Ok(Call::CopyMessage { at, to: input::destination(&self.json()?)? }),
            (["$value"], &Method::GET) => self.view(Of::Nothing).map(|_| Call::MessageMime { at }),
            (["attachments"], &Method::GET) => {
                Ok(Call::ListAttachments { at, view: self.view(Of::Attachments)? })
            }
            (["attachments"], &Method::POST) => {
                let input = Box::new(AttachmentInput::read(&self.json()?)?);
                Ok(Call::AddAttachment { at, input })
            }
            (["attachments", "createUploadSession"], &Method::POST) => {
                Ok(Call::OpenUpload { at, input: UploadInput::read(&self.json()?)? })
            }
            (["attachments", id], &Method::GET) => {
                Ok(Call::GetAttachment { at, id: (*id).to_owned(), view: self.view(Of::Attachment)? })
            }
            (["attachments", id], &Method::DELETE) => {
                self.view(Of::Nothing).map(|_| Call::DeleteAttachment { at, id: (*id).to_owned() })
            }
            (["attachments", id, "$value"], &Method::GET) => {
                self.view(Of::Nothing).map(|_| Call::AttachmentValue { at, id: (*id).to_owned() })
            }
            (
                []
                | ["permanentDelete" | "move" | "copy" | "$value" | "attachments"]
                | ["attachments", _]
                | ["attachments", _, "$value"],
                _,
            ) => Err(Refusal::method()),
            ([.., other], _) => Err(Refusal::no_such_path(other)),
        }
    }
}

fn named(name: Option<String>) -> Result<String, Refusal> {
    name.filter(|n| !n.trim().is_empty())
        .ok_or_else(|| Refusal::new(400, "ErrorInvalidRequest", "The folder's display name is missing."))
}
