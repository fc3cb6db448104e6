//! A policy set comes into force by an operator's word: read and checked whole, written beside the folder's files, taken by the border, and only then put in their
//! place. Whatever goes wrong before leaves everything as it was.

use std::path::Path;

use crate::app::border::Border;
use crate::app::policy_sets::texts::Texts;
use crate::app::policy_sets::{Adoption, How};
use crate::config::{Settings, Warning};

/// What it means. Read on a thread beside, since a large set takes a while and calls go on meanwhile.
async fn load(texts: &Texts, folder: &Path) -> Result<(Settings, Vec<Warning>), String> {
    let (texts, folder) = (texts.clone(), folder.to_owned());
    let loaded = tokio::task::spawn_blocking(move || texts.load(&folder).map_err(|problems| problems.to_string())).await;
    loaded.map_err(|fault| fault.to_string())?
}

/// Returns what is worth knowing of it, or why it was refused.
pub async fn adopt(border: &mut Border, folder: &Path, adoption: Adoption, by: &str) -> Result<Vec<String>, String> {
    let loaded = load(&adoption.texts, folder).await.map_err(|problems| format!("the set has problems, and nothing was changed:\n{problems}"))?;
    let sets = border.policy_sets();
    let staged = sets.stage(&adoption)?;
    let mut told = border.take(loaded).await.map_err(|error| error.to_string())?;
    // Whatever was wanted: the next start brings this set, if it is what lies there.
    let mut until_restart = adoption.until_restart && !sets.folder_holds(&adoption.texts);
    if until_restart {
        told.push(format!("until the next start: {} holds another set, which comes into force then", folder.display()));
    }
    if let Some(staged) = staged
        && let Err(error) = staged.commit()
    {
        until_restart = true;
        let what = format!("the set is in force, but {} holds parts of it and of the old one ({error}): mend it before the next start", folder.display());
        tracing::error!("{what}");
        told.push(what);
    }
    if !until_restart {
        // What lies in the folder is in force, whatever was refused before.
        border.refused(None);
    }
    let digest = adoption.texts.digest();
    tracing::info!(operator = by, digest, until_restart, how = ?adoption.how, "a policy set has come into force");
    sets.adopted(adoption.texts, by, adoption.how, until_restart);
    Ok(told)
}

/// Takes what lies in the folder now.
pub async fn reload(border: &mut Border, folder: &Path, by: &str) -> Result<Vec<String>, String> {
    // Also where the set is refused: log rotation must not wait for it.
    border.telemetry.reopen();
    // Read once, so that what is kept is what was loaded.
    let Ok(texts) = Texts::read(folder) else {
        return border.reload(folder).await.map_err(|error| error.to_string());
    };
    let loaded = load(&texts, folder).await?;
    let told = border.take(loaded).await.map_err(|error| error.to_string())?;
    border.policy_sets().adopted(texts, by, How::Reloaded, false);
    Ok(told)
}
