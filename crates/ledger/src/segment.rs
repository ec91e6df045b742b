//! Segments: which type and number carry a network's frames, out of the configured ranges, and
//! how big a frame may be.

use intent::{Network, NetworkId, NetworkType, Segment, SegmentId};

use crate::{Draft, Refusal, config::Config, draft::Reading, free::Taken, txn::Txn};

/// What a request says of one segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wish {
    network_type: Option<String>,
    physical_network: Option<String>,
    segmentation_id: Option<i64>,
}

const PROVIDER: [&str; 3] = [
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
];

impl Wish {
    fn read(from: &impl Reading) -> Self {
        Self {
            network_type: from.owned(PROVIDER[0]),
            physical_network: from.owned(PROVIDER[1]),
            segmentation_id: from.number(PROVIDER[2]),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A segment's place, settled: type, physical network, number.
type Place = (NetworkType, Option<String>, Option<u32>);

/// Makes a new network's segments: those asked for, or one of an ordinary network's types.
pub(crate) fn create(txn: &mut Txn<'_>, network: NetworkId, draft: &Draft) -> Result<(), Refusal> {
    let single = Wish::read(draft);
    let several = several(draft);
    if !single.is_empty() && !several.is_empty() {
        return Err(Refusal::segments_and_provider());
    }
    let wishes = if single.is_empty() {
        several
    } else {
        vec![single]
    };
    if wishes.is_empty() {
        let external = draft.flag("router:external") == Some(true);
        let place = ordinary(txn, external)?;
        put(txn, network, 0, place);
        return Ok(());
    }
    for (index, wish) in wishes.iter().enumerate() {
        let place = settle(txn, wish)?;
        put(
            txn,
            network,
            u16::try_from(index).unwrap_or(u16::MAX),
            place,
        );
    }
    Ok(())
}

fn several(draft: &Draft) -> Vec<Wish> {
    let list = draft.value("segments").and_then(|value| value.as_array());
    let maps = list
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_object());
    maps.map(Wish::read).collect()
}

fn put(txn: &mut Txn<'_>, network_id: NetworkId, index: u16, place: Place) {
    let (network_type, physical_network, segmentation_id) = place;
    // The reference counts the reservation of a number on a physical network as a change.
    let revision = u64::from(physical_network.is_some());
    let segment = Segment {
        id: SegmentId::new(txn.uuid()),
        network_id,
        network_type,
        physical_network,
        segmentation_id,
        name: None,
        index,
        meta: txn.meta(None, revision),
    };
    txn.create(segment);
}

/// A network that names no type gets the first type that has a number left.
fn ordinary(txn: &Txn<'_>, external: bool) -> Result<Place, Refusal> {
    let config = txn.config();
    let of_external = config.external_network_type.filter(|_| external);
    let types = match &of_external {
        Some(only) => std::slice::from_ref(only),
        None => config.tenant_network_types.as_slice(),
    };
    let mut found = types.iter().filter_map(|kind| any_of(txn, *kind));
    found.next().ok_or_else(Refusal::no_network_available)
}

/// Any free place of a type.
fn any_of(txn: &Txn<'_>, kind: NetworkType) -> Option<Place> {
    let config = txn.config();
    match kind {
        NetworkType::Local => Some((kind, None, None)),
        NetworkType::Flat => {
            let names = config.flat_networks.iter().filter(|name| *name != "*");
            let mut places = names.map(|name| (kind, Some(name.clone()), None));
            places.find(|place| !is_taken(txn, place))
        }
        NetworkType::Vlan => config.network_vlan_ranges.iter().find_map(|range| {
            let physical = Some(range.physical_network.clone());
            lowest(txn, kind, physical, &[range.range?])
        }),
        NetworkType::Gre => lowest(txn, kind, None, &config.gre_tunnel_id_ranges),
        NetworkType::Vxlan => lowest(txn, kind, None, &config.vxlan_vni_ranges),
        NetworkType::Geneve => lowest(txn, kind, None, &config.geneve_vni_ranges),
    }
}

fn lowest(
    txn: &Txn<'_>,
    kind: NetworkType,
    physical: Option<String>,
    ranges: &[(u32, u32)],
) -> Option<Place> {
    let index = &txn.state().index;
    let key = (kind, physical);
    let place = |number: u128| {
        let number = u32::try_from(number).ok();
        (key.0, key.1.clone(), number)
    };
    let taken = Taken {
        used: |number| index.segment_of_number.any(&place(number)),
        full: |number| index.number_density.is_full(&key, number),
    };
    ranges
        .iter()
        .find_map(|(low, high)| taken.first_free(&((*low).into()..=(*high).into()), 0))
        .map(place)
}

fn is_taken(txn: &Txn<'_>, place: &Place) -> bool {
    txn.state().index.segment_of_number.any(place)
}

/// Where a wish leads: checked, and the number found where it names none.
fn settle(txn: &Txn<'_>, wish: &Wish) -> Result<Place, Refusal> {
    let Some(word) = &wish.network_type else {
        return Err(Refusal::invalid_input("network_type required"));
    };
    let kind = word
        .parse()
        .ok()
        .filter(|kind| txn.config().type_drivers.contains(kind));
    let Some(kind) = kind else {
        let what = format!("network_type value '{word}' not supported");
        return Err(Refusal::invalid_input(what));
    };
    match kind {
        NetworkType::Local => local(wish),
        NetworkType::Flat => flat(txn, wish),
        NetworkType::Vlan => vlan(txn, wish),
        NetworkType::Gre | NetworkType::Vxlan | NetworkType::Geneve => tunnel(txn, kind, wish),
    }
}

fn local(wish: &Wish) -> Result<Place, Refusal> {
    let given = [
        (wish.physical_network.is_some(), PROVIDER[1]),
        (wish.segmentation_id.is_some(), PROVIDER[2]),
    ];
    match given.iter().find(|(given, _)| *given) {
        Some((_, name)) => Err(Refusal::invalid_input(format_args!(
            "{name} prohibited for local provider network"
        ))),
        None => Ok((NetworkType::Local, None, None)),
    }
}

fn flat(txn: &Txn<'_>, wish: &Wish) -> Result<Place, Refusal> {
    let Some(physical) = &wish.physical_network else {
        return Err(Refusal::invalid_input(
            "physical_network required for flat provider network",
        ));
    };
    let known = &txn.config().flat_networks;
    if !known.iter().any(|name| name == "*" || name == physical) {
        return Err(Refusal::invalid_input(format_args!(
            "physical_network '{physical}' unknown for flat provider network"
        )));
    }
    if wish.segmentation_id.is_some() {
        return Err(Refusal::invalid_input(
            "segmentation_id prohibited for flat provider network",
        ));
    }
    let place = (NetworkType::Flat, Some(physical.clone()), None);
    if is_taken(txn, &place) {
        return Err(Refusal::flat_network_in_use(physical));
    }
    Ok(place)
}

fn vlan(txn: &Txn<'_>, wish: &Wish) -> Result<Place, Refusal> {
    let Some(physical) = &wish.physical_network else {
        if wish.segmentation_id.is_some() {
            return Err(Refusal::invalid_input(
                "segmentation_id requires physical_network for VLAN provider network",
            ));
        }
        return any_of(txn, NetworkType::Vlan).ok_or_else(Refusal::no_network_available);
    };
    let ranges = txn.config().network_vlan_ranges.iter();
    let ranges: Vec<_> = ranges
        .filter(|range| range.physical_network == *physical)
        .collect();
    if ranges.is_empty() {
        return Err(Refusal::invalid_input(format_args!(
            "physical_network '{physical}' unknown for VLAN provider network"
        )));
    }
    let Some(number) = wish.segmentation_id else {
        let numbers: Vec<_> = ranges.iter().filter_map(|range| range.range).collect();
        let found = lowest(txn, NetworkType::Vlan, Some(physical.clone()), &numbers);
        return found.ok_or_else(Refusal::no_network_available);
    };
    vlan_place(txn, physical, number)
}

fn vlan_place(txn: &Txn<'_>, physical: &str, number: i64) -> Result<Place, Refusal> {
    let id = in_range(number, 4094)?;
    let place = (NetworkType::Vlan, Some(physical.to_owned()), Some(id));
    if is_taken(txn, &place) {
        return Err(Refusal::vlan_id_in_use(number, physical));
    }
    Ok(place)
}

fn in_range(number: i64, highest: u32) -> Result<u32, Refusal> {
    let id = u32::try_from(number).ok();
    id.filter(|id| (1..=highest).contains(id)).ok_or_else(|| {
        let what = format!("segmentation_id out of range (1 through {highest})");
        Refusal::invalid_input(what)
    })
}

fn tunnel(txn: &Txn<'_>, kind: NetworkType, wish: &Wish) -> Result<Place, Refusal> {
    if wish.physical_network.is_some() {
        return Err(Refusal::invalid_input(format_args!(
            "provider:physical_network specified for {kind} network"
        )));
    }
    let Some(number) = wish.segmentation_id else {
        return any_of(txn, kind).ok_or_else(Refusal::no_network_available);
    };
    // GRE's key has 32 bits, the others' network identifier 24.
    let highest = match kind {
        NetworkType::Gre => u32::MAX,
        _ => 0xff_ffff,
    };
    let place = (kind, None, Some(in_range(number, highest)?));
    if is_taken(txn, &place) {
        return Err(Refusal::tunnel_id_in_use(number));
    }
    Ok(place)
}

/// Changes a network's provider attributes as far as that can be: a VLAN's number.
pub(crate) fn update(txn: &mut Txn<'_>, network: &Network, draft: &Draft) -> Result<(), Refusal> {
    let wish = Wish::read(draft);
    let segments = of_network(txn, network.id);
    let (false, [segment]) = (wish.is_empty(), segments.as_slice()) else {
        return Ok(());
    };
    let changes_type = wish
        .network_type
        .is_some_and(|it| it != segment.network_type.as_str());
    let changes_physical =
        wish.physical_network.is_some() && wish.physical_network != segment.physical_network;
    if changes_type || changes_physical {
        return Err(Refusal::invalid_input(format_args!(
            "Plugin does not support updating the following provider network attributes: {}, {}",
            PROVIDER[0], PROVIDER[1]
        )));
    }
    let Some(number) = wish.segmentation_id else {
        return Ok(());
    };
    if segment.segmentation_id.map(i64::from) == Some(number) {
        return Ok(());
    }
    let (NetworkType::Vlan, Some(physical)) = (segment.network_type, &segment.physical_network)
    else {
        return Err(Refusal::invalid_input(
            "Only VLAN type networks can be updated.",
        ));
    };
    let (_, _, segmentation_id) = vlan_place(txn, physical, number)?;
    let mut changed = segment.clone();
    changed.segmentation_id = segmentation_id;
    txn.save(changed);
    Ok(())
}

/// A network's segments in their order.
pub(crate) fn of_network(txn: &Txn<'_>, network: NetworkId) -> Vec<Segment> {
    let state = txn.state();
    let ids = state.index.segments_of_network.of(&network);
    let mut segments: Vec<Segment> = ids
        .filter_map(|id| state.segments.get(id))
        .map(|segment| Segment::clone(segment))
        .collect();
    segments.sort_by_key(|segment| segment.index);
    segments
}

/// The biggest packet that every segment of the network carries.
pub(crate) fn max_mtu(txn: &Txn<'_>, network: NetworkId) -> u32 {
    let segments = of_network(txn, network);
    let each = segments
        .iter()
        .map(|segment| segment_mtu(txn.config(), segment));
    each.min().unwrap_or(txn.config().global_physnet_mtu)
}

fn segment_mtu(config: &Config, segment: &Segment) -> u32 {
    let global = config.global_physnet_mtu;
    let ip_header = if config.overlay_ip_version == 6 {
        40
    } else {
        20
    };
    let path = match config.path_mtu {
        0 => global,
        path => path.min(global),
    };
    let inside = |overhead: u32| path.saturating_sub(ip_header + overhead);
    match segment.network_type {
        NetworkType::Gre => inside(22),
        NetworkType::Vxlan => inside(30),
        NetworkType::Geneve => inside(config.geneve_max_header_size),
        NetworkType::Flat | NetworkType::Vlan | NetworkType::Local => {
            let physical = segment.physical_network.as_ref();
            let own = physical.and_then(|name| config.physical_network_mtus.get(name));
            own.copied().unwrap_or(global)
        }
    }
}
