//! The `OS_*` variables. Pure: the environment comes in as a function.

use super::Place;
use super::fields::{FIELDS, Given};

/// What variables say; of several names for one field the first that is set counts.
pub fn read(variable: impl Fn(&str) -> Option<String>) -> Given {
    let mut given = Given::default();
    for row in FIELDS {
        let set =
            row.variables.iter().find_map(|name| Some((name, variable(name).filter(|v| !v.is_empty())?)));
        if let Some((name, value)) = set {
            let place = Place { file: "environment".to_owned(), line: 0, key: (*name).to_owned() };
            given.say(row.field, value, place);
        }
    }
    given
}
