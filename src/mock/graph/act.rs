//! Acting on one mailbox: the frame that folders, messages and attachments share.

use super::attachments::Uploads;
use super::call::{At, Call};
use super::exchange_items::ImportSessions;
use super::ids::Ids;
use super::mailbox::Mailbox;
use super::options::GraphOptions;
use super::render::Show;
use super::reply::{Refusal, Reply};
use super::state::Item;
use super::truth::Counters;

/// What becomes of a request that was understood.
pub(super) type Acted = Result<Reply, Refusal>;

/// All that one act may touch.
pub(super) struct Act<'a> {
    pub(super) mailbox: &'a mut Mailbox,
    pub(super) ids: &'a mut Ids,
    pub(super) options: &'a GraphOptions,
    pub(super) counters: &'a mut Counters,
    pub(super) uploads: &'a mut Uploads,
    pub(super) imports: &'a mut ImportSessions,
    pub(super) show: &'a Show,
    /// The absolute address of the request, without its query.
    pub(super) address: &'a str,
    pub(super) if_match: Option<&'a str>,
    pub(super) app: &'a str,
    pub(super) upload_base: &'a str,
    pub(super) now: i64,
}

impl Act<'_> {
    pub(super) fn run(&mut self, call: &Call) -> Acted {
        match call {
            Call::GetUser(view) => self.user(view),
            Call::ListFolders { parent, view } => self.list_folders(parent, view),
            Call::CreateFolder { parent, name, hidden } => self.create_folder(parent, name, *hidden),
            Call::GetFolder { id, view } => self.get_folder(id, view),
            Call::RenameFolder { id, name } => self.rename_folder(id, name),
            Call::MoveFolder { id, to } => self.move_folder(id, to),
            Call::CopyFolder { id, to } => self.copy_folder(id, to),
            Call::DeleteFolder { id } => self.delete_folder(id),
            Call::FolderDelta(view) => self.folder_delta(view),
            Call::MessageDelta { folder, view } => self.message_delta(folder, view),
            Call::TranslateIds { ids, to_immutable } => self.translate(ids, *to_immutable),
            Call::ListMessages { folder, view } => self.list_messages(folder.as_deref(), view),
            Call::CreateMessage { folder, input, how } => self.create_message(folder.as_deref(), input, *how),
            Call::GetMessage { at, view } => self.get_message(at, view),
            Call::PatchMessage { at, input } => self.patch_message(at, input),
            Call::MoveMessage { at, to } => self.move_message(at, to),
            Call::CopyMessage { at, to } => self.copy_message(at, to),
            Call::DeleteMessage { at, for_good } => self.delete_message(at, *for_good),
            Call::MessageMime { at } => self.message_mime(at),
            Call::ListAttachments { at, view } => self.list_attachments(at, view),
            Call::AddAttachment { at, input } => self.add_attachment(at, input),
            Call::GetAttachment { at, id, view } => self.get_attachment(at, id, view),
            Call::AttachmentValue { at, id } => self.attachment_value(at, id),
            Call::DeleteAttachment { at, id } => self.delete_attachment(at, id),
            Call::OpenUpload { at, input } => self.open_upload(at, input),
            Call::Exchange(call) => self.exchange(call),
        }
    }

    /// A folder that must be there.
    pub(super) fn folder(&self, id: &str) -> Result<u32, Refusal> {
        self.mailbox.folder(id).ok_or_else(Refusal::not_found)
    }

    /// A message that must be there, in the folder named if one is.
    pub(super) fn item(&self, at: &At) -> Result<&Item, Refusal> {
        // What is no mail is not there for who asks for messages.
        let item = self.mailbox.item(&at.id).filter(|item| item.is_mail()).ok_or_else(|| {
            // Ids have a form; what lacks it is malformed, not missing.
            if at.id.len() < 40 {
                Refusal::new(400, "ErrorInvalidIdMalformed", "Id is malformed.")
            } else {
                Refusal::not_found()
            }
        })?;
        if let Some(folder) = &at.folder
            && self.folder(folder)? != item.folder
        {
            return Err(Refusal::not_found());
        }
        Ok(item)
    }

    /// As [`Act::item`], for a change: `If-Match` must fit.
    pub(super) fn item_to_change(&self, at: &At) -> Result<&Item, Refusal> {
        let item = self.item(at)?;
        match self.if_match {
            Some(tag) if tag != "*" && tag != format!("W/\"{}\"", item.change_key()) => Err(Refusal::new(
                412,
                "ErrorIrresolvableConflict",
                "The send or update operation could not be performed because the change key is outdated.",
            )),
            _ => Ok(item),
        }
    }

    /// Is there room for so many more octets?
    pub(super) fn room(&self, more: u64) -> Result<(), Refusal> {
        if self.mailbox.bytes().saturating_add(more) > self.options.sizes.mailbox {
            return Err(Refusal::new(507, "ErrorQuotaExceeded", "The mailbox has exceeded its quota."));
        }
        Ok(())
    }

    /// Has the folder room for one more message?
    pub(super) fn place(&self, folder: u32) -> Result<(), Refusal> {
        let full = self
            .mailbox
            .folders
            .get(&folder)
            .is_some_and(|f| f.items.len() >= self.options.sizes.folder_messages);
        if full {
            return Err(Refusal::new(507, "ErrorQuotaExceeded", "The folder holds as many items as it can."));
        }
        Ok(())
    }
}
