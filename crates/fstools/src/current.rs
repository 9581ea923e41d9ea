//! The current records by the file alone, and what the index beside it says of them.
//!
//! A server opens a file with the index beside it and looks at a part of it only, so an index that is
//! wrong makes it serve what is wrong. Whoever reads all of a file can tell, and says so.

use filestorage::{Positions, Step, Survey};
use storage::StorageError;

use crate::index::missing_end;
use crate::line::IndexState;
use crate::listener::{Listener, ToolError};
use crate::testimony::{Testimony, beside};

/// The current records by the file alone; nothing where it is damaged, so that some may be hidden.
pub(crate) fn of_file(
    survey: &Survey,
    listener: &mut dyn Listener,
) -> Result<Option<Positions>, ToolError> {
    let mut positions = Positions::default();
    let mut walk = survey.walk();
    positions.set_end(walk.next_offset());
    while let Some(step) = walk.next_step()? {
        match step {
            Step::Transaction(transaction) => positions.set_last_tid(transaction.tid),
            Step::Damage(_) => return Ok(None),
            Step::Unfinished(_) => break,
        }
        loop {
            match walk.next_record() {
                Ok(Some(record)) => positions.enter(&record),
                Ok(None) => break,
                Err(StorageError::Corrupt { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        positions.set_end(walk.next_offset());
        listener.reached(walk.next_offset());
    }
    Ok(Some(positions))
}

/// Tells what an index beside the file has against it, or the file against the index, where the current
/// records are known; how many things are wrong.
pub(crate) fn tell_beside(
    survey: &Survey,
    positions: &Positions,
    listener: &mut dyn Listener,
) -> Result<u64, ToolError> {
    if let Some(longer) = survey.longer(positions.end())? {
        listener.tell(missing_end(&longer))?;
        return Ok(1);
    }
    let mut wrong = 0;
    let looks: [(&str, &dyn Fn() -> Option<Positions>); 2] = [
        ("index", &|| survey.saved_index()),
        ("zidx", &|| survey.saved_checkpoint()),
    ];
    for (extension, look) in looks {
        // One that ends behind the file is from before a pack, and not believed by anybody.
        let Some(saved) = look().filter(|saved| saved.end() <= positions.end()) else {
            continue;
        };
        let heard = Testimony::hear(&saved, positions, survey)?;
        if heard.agrees {
            continue;
        }
        let state = heard.state();
        let first = heard.first_wrong();
        let what = match (state, first) {
            (IndexState::Contradicts { .. }, _) => state.to_string(),
            (IndexState::Wrong { .. }, Some(first)) => {
                format!(
                    "{state}: {first}{}. What is told here is by the file",
                    state.remedy()
                )
            }
            _ => continue,
        };
        wrong += 1;
        listener.tell((beside(survey, extension), what).into())?;
    }
    Ok(wrong)
}
