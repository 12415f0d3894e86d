//! From files and environment to what is used of them. As pure as the functions in [`Sources`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_api::Problem;

use super::clouds::{self, Files, Text};
use super::credentials::{self, Credentials};
use super::fields::{FIELDS, Field, Given};
use super::gcfg::{self, File, Section};
use super::{Place, environment};

/// What is read from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// `cloud.conf`; `None`: only the environment and `clouds.yaml`.
    pub conf: Option<&'a Path>,
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// A file's text.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

/// What the user says about the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudConf {
    /// Who we are, and where the cloud is.
    pub credentials: Credentials,
    /// `[Metadata] request-timeout`: longest time of one call.
    pub request_timeout: Option<Duration>,
    /// The whole file as it stands; `[LoadBalancer]`, `[LoadBalancerClass "…"]` and `[Networking]` are read by others.
    pub file: File,
}

impl CloudConf {
    /// `[LoadBalancer]` and every `[LoadBalancerClass "…"]`.
    pub fn load_balancer(&self) -> impl Iterator<Item = &Section> {
        self.file.named("LoadBalancer").chain(self.file.named("LoadBalancerClass"))
    }

    /// `[Networking]`, by key, as [`CloudConf::options`] has the others.
    #[must_use]
    pub fn networking(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        self.file.named("Networking").for_each(|section| take(&mut all, section));
        all
    }

    /// The values of these sections by key, all of a key in order; names of sections as they are documented, whatever their case here. A key that stands alone is a
    /// switch that is on.
    #[must_use]
    pub fn options(&self) -> BTreeMap<String, BTreeMap<String, Vec<String>>> {
        let mut all: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
        for section in self.load_balancer() {
            take(all.entry(canonical(section)).or_default(), section);
        }
        all
    }

    /// Where an option is, by section and key as in a complaint about it: `[LoadBalancer] subnet-id`. One that is not there is somewhere in the file.
    #[must_use]
    pub fn place(&self, field: &str) -> Place {
        let found = self.load_balancer().chain(self.file.named("Networking")).find_map(|section| {
            let rest = field.strip_prefix(&format!("[{}]", canonical(section)))?;
            Some((section, section.last(rest.trim())))
        });
        match found {
            Some((section, Some(entry))) => {
                Place { key: field.to_owned(), ..self.file.place(section, entry) }
            }
            Some((section, None)) => {
                Place { file: self.file.name.clone(), line: section.line, key: field.to_owned() }
            }
            None => Place { file: self.file.name.clone(), line: 0, key: field.to_owned() },
        }
    }
}

/// Adds the values of a section by key. A key that stands alone is a switch that is on.
fn take(values: &mut BTreeMap<String, Vec<String>>, section: &Section) {
    for entry in &section.entries {
        let value = entry.value.clone().unwrap_or_else(|| "true".to_owned());
        values.entry(entry.key.clone()).or_default().push(value);
    }
}

/// A section's name as it is documented.
fn canonical(section: &Section) -> String {
    let name = SECTIONS.iter().find(|known| known.eq_ignore_ascii_case(&section.name)).copied();
    let name = name.unwrap_or(&section.name);
    match &section.sub {
        Some(sub) => format!("{name} \"{sub}\""),
        None => name.to_owned(),
    }
}

/// Sections of `cloud.conf`. What belongs to other programs that share the file is no fault.
const SECTIONS: &[&str] =
    &["Global", "LoadBalancer", "LoadBalancerClass", "Metadata", "Networking", "Route", "BlockStorage"];

/// Reads everything. The second part is what has no effect.
///
/// # Errors
/// All that makes it unusable.
pub fn load(sources: &Sources<'_>) -> Result<(CloudConf, Vec<Problem>), Vec<Problem>> {
    let mut warnings = Vec::new();
    let (file, default) = match sources.conf {
        None => (File::default(), Place::file("environment")),
        Some(path) => {
            let name = path.display().to_string();
            let place = Place::file(&name);
            let text = (sources.read)(path).map_err(|error| {
                vec![place.error(format!(
                    "it cannot be read ({error}): mount the cloud configuration there, or mend the path"
                ))]
            })?;
            (gcfg::parse(&name, &text)?, place)
        }
    };
    let mut given = global(&file, &mut warnings);
    let mut problems = Vec::new();
    let request_timeout = timeout(&file).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    for section in &file.sections {
        if !SECTIONS.iter().any(|known| known.eq_ignore_ascii_case(&section.name)) {
            let place = Place { file: file.name.clone(), line: section.line, key: section.header() };
            warnings.push(
                place.unknown(format!("nobody reads this section: the sections are {}", SECTIONS.join(", "))),
            );
        }
    }
    let surroundings = environment::read(sources.variable);
    let use_clouds = match given.get(Field::UseClouds) {
        Some(said) => gcfg::switch(&said.value).unwrap_or_else(|| {
            problems.push(
                said.place.error(format!("{:?} is neither true nor false: say one of them", said.value)),
            );
            false
        }),
        None => false,
    };
    let which = |field| given.text(field).or_else(|| surroundings.text(field)).map(str::to_owned);
    let (clouds_file, cloud) = (which(Field::CloudsFile), which(Field::Cloud));
    if use_clouds {
        match from_clouds(sources, clouds_file.as_deref(), cloud.as_deref()) {
            Ok(clouds) => given = given.or(clouds),
            Err(more) => problems.extend(more),
        }
    } else if given.is_empty() {
        // `[Global]` says nothing at all: as any client of OpenStack would, in the same order.
        given = surroundings;
        if cloud.is_some() || given.get(Field::AuthUrl).is_none() && clouds_file.is_some() {
            match from_clouds(sources, clouds_file.as_deref(), cloud.as_deref()) {
                Ok(clouds) => given = given.or(clouds),
                Err(more) => problems.extend(more),
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let credentials = credentials::resolve(&given, &default, sources.read)?;
    Ok((CloudConf { credentials, request_timeout, file }, warnings))
}

/// What `[Global]` says.
fn global(file: &File, warnings: &mut Vec<Problem>) -> Given {
    let mut given = Given::default();
    // Of several keys for one field the one that is named first in the table counts.
    let mut rank = BTreeMap::new();
    for section in file.named("Global") {
        for entry in &section.entries {
            let place = file.place(section, entry);
            let known = FIELDS
                .iter()
                .find_map(|row| Some((row.field, row.global.iter().position(|key| *key == entry.key)?)));
            let Some((field, position)) = known else {
                let hint = match nearest(&entry.key) {
                    Some(key) => format!("{key} is meant, perhaps; else remove it"),
                    None => "remove it".to_owned(),
                };
                warnings.push(place.unknown(format!("nobody reads this key: {hint}")));
                continue;
            };
            if rank.get(&field).is_some_and(|better| *better < position) {
                continue;
            }
            rank.insert(field, position);
            // A switch that is just named is on.
            let switch = matches!(field, Field::UseClouds | Field::Insecure);
            let value = entry.value.clone().unwrap_or_else(|| if switch { "true" } else { "" }.to_owned());
            given.say(field, value, place);
        }
    }
    given
}

/// `[Metadata] request-timeout`.
fn timeout(file: &File) -> Result<Option<Duration>, Problem> {
    for section in file.named("Metadata") {
        if let Some(entry) = section.last("request-timeout") {
            let parsed = go_duration(entry.text()).filter(|duration| !duration.is_zero());
            return parsed.map(Some).ok_or_else(|| {
                let place = file.place(section, entry);
                place.error(format!("{:?} is not a time: write it as 30s or 1m30s", entry.text()))
            });
        }
    }
    Ok(None)
}

/// A duration as Go writes it: `1m30s`, `500ms`, `1.5h`, `0`.
#[must_use]
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        seconds += number
            * match &after[..unit] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &after[unit..];
        if rest.is_empty() {
            return Duration::try_from_secs_f64(seconds).ok();
        }
    }
}

/// The key of `[Global]` that is like this one, but for two letters at most.
fn nearest(key: &str) -> Option<&'static str> {
    let keys = FIELDS.iter().flat_map(|row| row.global);
    let (distance, nearest) = keys.map(|known| (distance(key, known), *known)).min()?;
    (distance <= 2).then_some(nearest)
}

/// Letters to add, take away or change, by Levenshtein.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Folders in which the three files are looked for, the first that has one counts.
fn folders(sources: &Sources<'_>) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from(".")];
    if let Some(config) = (sources.variable)("XDG_CONFIG_HOME").filter(|v| !v.is_empty()) {
        folders.push(Path::new(&config).join("openstack"));
    } else if let Some(home) = (sources.variable)("HOME").filter(|v| !v.is_empty()) {
        folders.push(Path::new(&home).join(".config/openstack"));
    }
    folders.push(PathBuf::from("/etc/openstack"));
    folders
}

fn from_clouds(
    sources: &Sources<'_>,
    file: Option<&str>,
    cloud: Option<&str>,
) -> Result<Given, Vec<Problem>> {
    let mut folders = folders(sources);
    let named = |path: &str| -> Result<(String, String), Vec<Problem>> {
        (sources.read)(Path::new(path)).map(|text| (path.to_owned(), text)).map_err(|error| {
            vec![
                Place::file(path)
                    .error(format!("it cannot be read ({error}): mount it there, or mend the path")),
            ]
        })
    };
    let clouds = match file {
        Some(path) => {
            // Its companions are next to it, if anywhere.
            if let Some(folder) = Path::new(path).parent() {
                folders.insert(0, folder.to_owned());
            }
            Some(named(path)?)
        }
        None => find(sources, &folders, "clouds")?,
    };
    let secure = match (sources.variable)("OS_CLIENT_SECURE_FILE").filter(|v| !v.is_empty()) {
        Some(path) => Some(named(&path)?),
        None => find(sources, &folders, "secure")?,
    };
    let public = find(sources, &folders, "clouds-public")?;
    fn text(file: &Option<(String, String)>) -> Option<Text<'_>> {
        file.as_ref().map(|(name, text)| Text { name, text })
    }
    let files = Files { clouds: text(&clouds), secure: text(&secure), public: text(&public) };
    clouds::read(&files, cloud)
}

/// The first file of a name that is there. One that is there and cannot be read is a fault.
fn find(
    sources: &Sources<'_>,
    folders: &[PathBuf],
    name: &str,
) -> Result<Option<(String, String)>, Vec<Problem>> {
    for folder in folders {
        for extension in ["yaml", "yml"] {
            let path = folder.join(format!("{name}.{extension}"));
            match (sources.read)(&path) {
                Ok(text) => return Ok(Some((path.display().to_string(), text))),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => {
                    return Err(vec![Place::file(&path.display().to_string()).error(format!(
                        "it is there and cannot be read ({error}): give this program the right to read it"
                    ))]);
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
