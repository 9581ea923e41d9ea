//! What there is to answer: the records of all names at one moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use balance::Rotation;
use hickory_proto::rr::rdata::svcb::{Alpn, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{HTTPS, NS, SOA, SVCB};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::options::{DomainName, NameServer, Options, Site};

/// All names of all zones. It changes by being replaced, but for whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    nodes: HashMap<Name, Node>,
    zones: Vec<Zone>,
}

/// A zone that we have authority over.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) name: Name,
    soa: SOA,
    negative_ttl: u32,
}

/// A name that is there, if only because names below it are.
#[derive(Debug)]
struct Node {
    zone: usize,
    sets: Vec<Set>,
}

/// The records of one type.
#[derive(Debug)]
struct Set {
    kind: RecordType,
    ttl: u32,
    data: Vec<RData>,
    /// Where the records take turns: whose turn it is.
    turns: Option<(Rotation, AtomicUsize)>,
}

/// Whom a site's answers may name now, with their weights.
pub(crate) type Presented = Vec<(IpAddr, u32)>;

/// What is known of a name and a type.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The name is in none of our zones.
    Elsewhere,
    /// There is no such name in that zone.
    NoName(&'a Zone),
    /// The name has no such records.
    NoRecords(&'a Zone),
    /// These.
    Records(Vec<Record>),
}

impl Catalog {
    /// `presented` has an entry for each site, in their order.
    pub(crate) fn new(options: &Options, presented: &[Presented], serial: u32) -> Self {
        let mut this = Self::default();
        for zone in &options.zones {
            this.add_zone(zone, options, serial);
        }
        for server in &options.name_servers {
            let addresses: Presented = server.addresses.iter().map(|&ip| (ip, 1)).collect();
            this.add(&server.name.0, NS_TTL, &addresses, addresses.len());
        }
        for (site, presented) in options.sites.iter().zip(presented) {
            this.add(&site.name.0, options.ttl, presented, options.answers_max);
            this.add_https(site, options.ttl);
        }
        this
    }

    fn add_zone(&mut self, zone: &DomainName, options: &Options, serial: u32) {
        let Some(primary) = options.name_servers.first() else {
            return;
        };
        let contact = match &options.contact {
            Some(contact) => contact.0.clone(),
            None => zone
                .0
                .prepend_label("hostmaster")
                .unwrap_or_else(|_| zone.0.clone()),
        };
        let soa = SOA::new(
            primary.name.0.clone(),
            contact,
            serial,
            REFRESH,
            RETRY,
            EXPIRE,
            options.negative_ttl,
        );
        let servers = options.name_servers.iter();
        let servers = servers.map(|server: &NameServer| RData::NS(NS(server.name.0.clone())));
        let sets = vec![
            Set::fixed(
                RecordType::SOA,
                options.negative_ttl,
                vec![RData::SOA(soa.clone())],
            ),
            Set::fixed(RecordType::NS, NS_TTL, servers.collect()),
        ];
        let node = Node {
            zone: self.zones.len(),
            sets,
        };
        self.nodes.insert(zone.0.clone(), node);
        self.zones.push(Zone {
            name: zone.0.clone(),
            soa,
            negative_ttl: options.negative_ttl,
        });
    }

    /// Gives a name addresses, of which some at a time are answered.
    fn add(&mut self, name: &Name, ttl: u32, addresses: &[(IpAddr, u32)], answers_max: usize) {
        let Some(node) = self.node(name) else { return };
        for kind in [RecordType::A, RecordType::AAAA] {
            let of_kind =
                |(address, _): &&(IpAddr, u32)| address.is_ipv4() == (kind == RecordType::A);
            let (data, weights): (Vec<RData>, Vec<u32>) = addresses
                .iter()
                .filter(of_kind)
                .map(|(address, weight)| (RData::from(*address), *weight))
                .unzip();
            let turns = match data.len() {
                0 => continue,
                1 => None,
                _ => Some((Rotation::new(&weights, answers_max), AtomicUsize::new(0))),
            };
            node.sets.push(Set {
                kind,
                ttl,
                data,
                turns,
            });
        }
    }

    fn add_https(&mut self, site: &Site, ttl: u32) {
        if site.alpn.is_empty() {
            return;
        }
        let Some(node) = self.node(&site.name.0) else {
            return;
        };
        let mut parameters = vec![(
            SvcParamKey::Alpn,
            SvcParamValue::Alpn(Alpn(site.alpn.clone())),
        )];
        if let Some(port) = site.https_port {
            parameters.push((SvcParamKey::Port, SvcParamValue::Port(port)));
        }
        // The root as the target means the name itself: its addresses are those of the A and AAAA records.
        let service = HTTPS(SVCB::new(1, Name::root(), parameters));
        node.sets.push(Set::fixed(
            RecordType::HTTPS,
            ttl,
            vec![RData::HTTPS(service)],
        ));
    }

    /// The node of a name in one of the zones; the names between it and the zone are there from now on.
    fn node(&mut self, name: &Name) -> Option<&mut Node> {
        let zone = self.zone_of(name)?;
        let mut between = name.clone();
        while between.num_labels() > self.zones[zone].name.num_labels() {
            let sets = Vec::new();
            self.nodes
                .entry(between.clone())
                .or_insert(Node { zone, sets });
            between = between.base_name();
        }
        self.nodes.get_mut(name)
    }

    /// The smallest zone that has the name.
    fn zone_of(&self, name: &Name) -> Option<usize> {
        let zones = self.zones.iter().enumerate();
        let around = zones.filter(|(_, zone)| zone.name.zone_of(name));
        around
            .max_by_key(|(_, zone)| zone.name.num_labels())
            .map(|(place, _)| place)
    }

    /// The records to answer with. Of those that take turns, it is the next one's.
    pub(crate) fn find(&self, name: &Name, kind: RecordType) -> Found<'_> {
        let Some(node) = self.nodes.get(name) else {
            let zone = self.zone_of(name).map(|place| &self.zones[place]);
            return zone.map_or(Found::Elsewhere, Found::NoName);
        };
        let is_asked = |set: &&Set| match kind {
            // One of the types that are there is an answer to ANY: RFC 8482, 4.1.
            RecordType::ANY => true,
            _ => set.kind == kind,
        };
        match node.sets.iter().find(is_asked) {
            Some(set) => Found::Records(set.records(name)),
            None => Found::NoRecords(&self.zones[node.zone]),
        }
    }

    /// The addresses of name servers in our zones, for who was told their names.
    pub(crate) fn glue(&self, servers: &[Record]) -> Vec<Record> {
        let mut glue = Vec::new();
        for server in servers {
            let RData::NS(NS(name)) = &server.data else {
                continue;
            };
            let node = self.nodes.get(name);
            for set in node.into_iter().flat_map(|node| &node.sets) {
                if matches!(set.kind, RecordType::A | RecordType::AAAA) {
                    glue.extend(set.records(name));
                }
            }
        }
        glue
    }
}

impl Zone {
    /// The record that says how long it may be believed that something is not there.
    pub(crate) fn soa(&self) -> Record {
        let data = RData::SOA(self.soa.clone());
        Record::from_rdata(self.name.clone(), self.negative_ttl, data)
    }
}

impl Set {
    fn fixed(kind: RecordType, ttl: u32, data: Vec<RData>) -> Self {
        Self {
            kind,
            ttl,
            data,
            turns: None,
        }
    }

    /// The name is written as it was asked: some resolvers look at its upper and lower case.
    fn records(&self, name: &Name) -> Vec<Record> {
        let record = |data: &RData| Record::from_rdata(name.clone(), self.ttl, data.clone());
        let Some((rotation, turn)) = &self.turns else {
            return self.data.iter().map(record).collect();
        };
        let order = rotation.order(turn.fetch_add(1, Ordering::Relaxed));
        let data = order.iter().map(|&place| &self.data[usize::from(place)]);
        data.map(record).collect()
    }
}

/// Of use to secondary servers alone, which there are none of.
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 604_800;
/// Name servers change rarely.
const NS_TTL: u32 = 3600;
