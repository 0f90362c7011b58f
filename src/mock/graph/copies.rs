//! Copies of messages and folders, and ids told in another form.

use serde_json::{Value, json};

use super::act::{Act, Acted};
use super::call::At;
use super::query::View;
use super::reply::{Refusal, Reply};
use super::state::Item;

impl Act<'_> {
    /// A copy has ids of its own. It is a draft if what it was made from is one: a copy sends nothing.
    pub(super) fn copy_message(&mut self, at: &At, to: &str) -> Acted {
        let number = self.item(at)?.number;
        let to = self.folder(to)?;
        self.place(to)?;
        let copy = self.copy_of(number, to)?;
        let item = self.mailbox.items.get(&copy).ok_or_else(Refusal::not_found)?;
        let mut reply = Reply::json(201, &self.show.message(self.mailbox, item, &View::default()));
        reply.created = Some((self.mailbox.address.clone(), copy));
        Ok(reply)
    }

    fn copy_of(&mut self, number: u64, to: u32) -> Result<u64, Refusal> {
        let mut item =
            self.mailbox.items.get(&number).map(|item| Item::clone(item)).ok_or_else(Refusal::not_found)?;
        self.room(item.size())?;
        item.number = self.mailbox.next_number();
        item.folder = to;
        (item.id, item.immutable) = (self.ids.draw(), self.ids.draw());
        (item.created, item.modified) = (self.now, self.now);
        item.change = self.mailbox.next_change();
        item.entered = item.change;
        for attachment in &mut item.attachments {
            attachment.id = self.ids.draw();
        }
        let number = item.number;
        self.mailbox.add(item);
        self.counters.copies += 1;
        Ok(number)
    }

    /// A folder with all that is in it and below it.
    pub(super) fn copy_folder(&mut self, id: &str, to: &str) -> Acted {
        let (number, to) = (self.folder(id)?, self.folder(to)?);
        if self.mailbox.is_below(to, number) {
            return Err(Refusal::new(400, "ErrorMoveCopyFailed", "A folder cannot be copied into itself."));
        }
        let name = self.mailbox.folders.get(&number).map_or_else(Box::default, |f| f.name.clone());
        self.name_fits(to, &name, None)?;
        let copy = self.copy_tree(number, to)?;
        self.counters.folder_writes += 1;
        Ok(Reply::json(201, &self.show.folder(self.mailbox, copy, &View::default())))
    }

    fn copy_tree(&mut self, number: u32, to: u32) -> Result<u32, Refusal> {
        let folder = self.mailbox.folders.get(&number).ok_or_else(Refusal::not_found)?;
        let (name, hidden) = (folder.name.clone(), folder.hidden);
        let items: Vec<u64> = folder.items.iter().copied().collect();
        let below: Vec<u32> = self.mailbox.children(number).map(|f| f.number).collect();
        let copy = self.mailbox.add_folder(to, &name, hidden, self.ids);
        for item in items {
            self.copy_of(item, copy)?;
        }
        for child in below {
            self.copy_tree(child, copy)?;
        }
        Ok(copy)
    }

    /// `translateExchangeIds`, between classic and immutable ids.
    pub(super) fn translate(&self, ids: &[String], to_immutable: bool) -> Acted {
        let told: Vec<Value> = ids
            .iter()
            .map(|id| match self.mailbox.item(id) {
                Some(item) => {
                    let target = if to_immutable { item.immutable.text() } else { item.id.text() };
                    json!({"sourceId": id, "targetId": target})
                }
                None => json!({"sourceId": id, "errorDetails": {
                    "code": "ErrorItemNotFound", "message": "The specified object was not found in the store.",
                }}),
            })
            .collect();
        Ok(Reply::json(
            200,
            &json!({
                "@odata.context": format!("{}/$metadata#Collection(microsoft.graph.convertIdResult)", self.show.root),
                "value": told,
            }),
        ))
    }
}
