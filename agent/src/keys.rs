//! Keys of clients at this node: which the ingress accepts, what others let through by them, and what was used.

mod book;
mod elsewhere;
mod keeper;

pub(crate) use self::{
    book::{UsageBook, UsageRow, day_of, day_text},
    keeper::KeyKeeper,
};
