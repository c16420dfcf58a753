//! The two wire forms of `biso_admin_controls` (reference section 1.9), read into one plan.
//!
//! Invariant: what a form does not mention is enabled, which is the documented default.

use super::reader::Reader;
use crate::action::{IsolatePlan, Permission};

const V1: [&str; 6] = ["version", "dcp", "dd", "dk", "dp", "du"];
const V2: [&str; 8] = ["version", "copy", "paste", "download", "keyboard", "printing", "upload", "wm_id"];

/// Reads `biso_admin_controls` if the settings have it.
pub(super) fn read(settings: &mut Reader<'_, '_>) -> Option<IsolatePlan> {
    let version = settings.get("biso_admin_controls")?.get("version").and_then(|version| version.as_str());
    match version {
        None | Some("v1") => read_v1(&mut settings.object("biso_admin_controls", &V1)?),
        Some("v2") => read_v2(&mut settings.object("biso_admin_controls", &V2)?),
        Some(_) => {
            let mut object = settings.object("biso_admin_controls", &V2)?;
            object.fault("version", "must be `v1` or `v2`");
            None
        }
    }
}

fn read_v1(object: &mut Reader<'_, '_>) -> Option<IsolatePlan> {
    let mut switch = |name: &str| match object.boolean(name) {
        Some(true) => Permission::Disabled,
        Some(false) | None => Permission::Enabled,
    };
    let copy = switch("dcp");
    Some(IsolatePlan {
        copy,
        paste: copy,
        download: switch("dd"),
        keyboard: switch("dk"),
        printing: switch("dp"),
        upload: switch("du"),
        watermark: None,
    })
}

fn read_v2(object: &mut Reader<'_, '_>) -> Option<IsolatePlan> {
    const ALL: [(&str, Permission); 3] =
        [("enabled", Permission::Enabled), ("disabled", Permission::Disabled), ("remote_only", Permission::RemoteOnly)];
    let mut word = |name: &str, words: &[(&str, Permission)]| object.word(name, words).unwrap_or(Permission::Enabled);
    let (copy, paste, download) = (word("copy", &ALL), word("paste", &ALL), word("download", &ALL));
    let (keyboard, printing, upload) =
        (word("keyboard", &ALL[..2]), word("printing", &ALL[..2]), word("upload", &ALL[..2]));
    let watermark = object.text("wm_id", 64).map(str::to_owned);
    Some(IsolatePlan { copy, paste, download, keyboard, printing, upload, watermark })
}
