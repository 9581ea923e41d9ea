//! `golden/`: see its manifest.

use std::collections::HashMap;

use pickle::{EncodeOptions, Pickles};

use crate::spelling::{hex, spell};

const CASES: &str = include_str!("../golden/cases.tsv");
const RECORDS: &[u8] = include_bytes!("../golden/records.bin");

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) maker: &'static str,
    pub(crate) pickle: Vec<u8>,
    /// What ZODB writes for the value.
    pub(crate) zodb: Option<Vec<u8>>,
    pub(crate) spelling: Option<&'static str>,
}

pub(crate) fn cases() -> Vec<Case> {
    CASES
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, maker, pickle, zodb, spelling] = fields[..] else {
                panic!("bad line {line}")
            };
            let pickle = bytes(pickle);
            let zodb = match zodb {
                "-" => None,
                "same" => Some(pickle.clone()),
                other => Some(bytes(other)),
            };
            Case {
                name,
                maker,
                pickle,
                zodb,
                spelling: Some(spelling).filter(|text| *text != "-"),
            }
        })
        .collect()
}

pub(crate) fn records() -> Vec<&'static [u8]> {
    let mut rest = RECORDS;
    let mut records = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk() {
        let (record, after) = after.split_at(u32::from_be_bytes(*len) as usize);
        records.push(record);
        rest = after;
    }
    records
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
                .expect("hexadecimal")
        })
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn every_case_means_what_python_says() {
    let mut checked = 0;
    for case in cases() {
        let Some(expected) = case.spelling else {
            continue;
        };
        let found = match Pickles::decode(&case.pickle) {
            Ok(pickles) => spell(pickles.root(0).unwrap()),
            Err(error) if expected == "refused" => {
                assert!(
                    error.to_string().contains("outside of the pickle"),
                    "{error}"
                );
                continue;
            }
            Err(error) => panic!("{} by {}: {error}", case.name, case.maker),
        };
        assert_eq!(found, expected, "{} by {}", case.name, case.maker);
        checked += 1;
    }
    assert!(checked > 150, "only {checked} cases have a spelling");
}

#[test]
fn every_case_is_written_as_zodb_writes_it() {
    let mut checked = 0;
    for case in cases() {
        let Some(expected) = &case.zodb else { continue };
        let pickles = Pickles::decode(&case.pickle)
            .unwrap_or_else(|error| panic!("{} by {}: {error}", case.name, case.maker));
        let found = pickles.encode();
        assert_eq!(
            hex(&found),
            hex(expected),
            "{} by {}",
            case.name,
            case.maker
        );
        checked += 1;
    }
    assert!(checked > 150, "only {checked} cases are ZODB's");
}

#[test]
fn without_a_memo_it_is_written_as_zeo_writes_it() {
    let cases = cases();
    let zodb: HashMap<&str, &[u8]> = cases
        .iter()
        .filter(|case| case.maker == "zodbpickle 3")
        .map(|case| (case.name, case.pickle.as_slice()))
        .collect();
    let mut checked = 0;
    for case in cases.iter().filter(|case| case.maker == "zodbpickle fast") {
        let pickles = Pickles::decode(zodb[case.name]).unwrap();
        let found = pickles.encode_with(EncodeOptions::FAST).unwrap();
        assert_eq!(hex(&found), hex(&case.pickle), "{}", case.name);
        checked += 1;
    }
    assert!(checked > 20, "only {checked} cases are without a memo");
}

#[test]
fn records_of_a_data_fs_come_back_byte_for_byte() {
    let records = records();
    assert!(records.len() > 150);
    for (number, record) in records.into_iter().enumerate() {
        let pickles =
            Pickles::decode(record).unwrap_or_else(|error| panic!("record {number}: {error}"));
        assert_eq!(
            pickles.roots().len(),
            2,
            "record {number} is not a class and a state"
        );
        assert!(
            pickles.encode() == record,
            "record {number}: {:?}",
            pickles.root(1)
        );
    }
}

#[test]
fn what_is_by_hand_is_stable_once_written() {
    for case in cases().iter().filter(|case| case.maker == "by hand") {
        let Ok(pickles) = Pickles::decode(&case.pickle) else {
            continue;
        };
        let written = pickles.encode();
        let again = Pickles::decode(&written)
            .unwrap_or_else(|error| panic!("{}: {error} in {}", case.name, hex(&written)));
        assert_eq!(hex(&again.encode()), hex(&written), "{}", case.name);
        let spellings = [&pickles, &again].map(|pickles| spell(pickles.root(0).unwrap()));
        assert_eq!(spellings[0], spellings[1], "{}", case.name);
    }
}
