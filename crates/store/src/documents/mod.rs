//! The typed documents, one file per family. Shapes only: who may read or change them stands in each `Document`
//! implementation, how they are kept in the backends. Invariant: each shape has a golden file that stays readable.

pub(crate) mod access;
pub(crate) mod access_state;
pub(crate) mod account;
pub(crate) mod catalog;
pub(crate) mod credential;
pub(crate) mod directory;
pub(crate) mod gateway;
pub(crate) mod kv;
pub(crate) mod list;
pub(crate) mod listener_certificate;
pub(crate) mod mail_server;
pub(crate) mod mcp;
pub(crate) mod network;
pub(crate) mod push_job;
pub(crate) mod rule;
pub(crate) mod script;
pub(crate) mod signal;

macro_rules! document {
    ($name:ty, $kind:ident, id $id:ty, $read:ident / $write:ident { $($body:tt)* }) => {
        impl crate::document::closed::Closed for $name {}

        impl crate::document::Document for $name {
            type Id = $id;
            type Read = crate::grant::$read;
            type Write = crate::grant::$write;
            const KIND: crate::document::Kind = crate::document::Kind::$kind;
            $($body)*
        }
    };
}
pub(crate) use document;
