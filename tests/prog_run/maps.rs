//! The programs load, and their maps are what `docs/maps.md` says.

use aya::maps::MapInfo;
use fw_agent::dataplane::Dataplane as _;
use fw_agent::dataplane::kernel::{Capacity, MAPS};

use crate::rig::{Rig, Setup};

#[test]
fn the_programs_load() {
    let Some(rig) = Rig::with(Setup { policy: None, ..Setup::default() }) else { return };
    assert_eq!(rig.dataplane.adopted(), None);
}

#[test]
fn the_maps_are_as_described() {
    let Some(rig) = Rig::new() else { return };
    let dir = rig.pin_dir.join(format!("abi-{}", fw_common::ABI_VERSION));
    let mut pinned: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    pinned.sort();
    let mut described: Vec<&str> = MAPS.iter().filter(|map| map.pinned).map(|map| map.name).collect();
    described.sort_unstable();
    assert_eq!(pinned, described);
    for map in MAPS.iter().filter(|map| map.pinned) {
        let info = MapInfo::from_pin(dir.join(map.name)).unwrap();
        let entries = match map.capacity {
            Capacity::Fixed(entries) => entries,
            Capacity::Slots => fw_common::flow_index::buckets_for(4096) * fw_common::abi::flow::LANES,
            Capacity::Buckets => fw_common::flow_index::buckets_for(4096),
            Capacity::HalfOpen => 2 * fw_common::half_open::ring(fw_common::half_open::default_limit(4096)),
            Capacity::PerPolicy(maps) => 2 * maps,
        };
        assert_eq!(info.max_entries(), entries, "{}", map.name);
        if !matches!(map.capacity, Capacity::PerPolicy(_)) {
            assert_eq!(info.key_size() as usize, map.key_size, "{}", map.name);
            assert_eq!(info.value_size() as usize, map.value_size, "{}", map.name);
        }
    }
}

#[test]
fn the_scratch_space_is_as_described() {
    let Some(_rig) = Rig::with(Setup { policy: None, ..Setup::default() }) else { return };
    let loaded: Vec<MapInfo> = aya::maps::loaded_maps().filter_map(Result::ok).collect();
    for described in MAPS.iter().filter(|map| !map.pinned) {
        // The kernel keeps fifteen letters of a name.
        let name = &described.name[..described.name.len().min(15)];
        let sizes: Vec<usize> =
            loaded.iter().filter(|map| map.name_as_str() == Some(name)).map(|map| map.value_size() as usize).collect();
        assert!(sizes.contains(&described.value_size), "{name}: {sizes:?}");
    }
}

#[test]
fn a_second_opening_adopts_the_first() {
    let Some(rig) = Rig::new() else { return };
    let other_layout = rig.pin_dir.join("abi-0");
    std::fs::create_dir(&other_layout).unwrap();
    let options = fw_agent::dataplane::kernel::KernelOptions {
        pin_dir: rig.pin_dir.clone(),
        max_flows: Some(9999),
        max_half_open: None,
    };
    let second = rig.netns.within(|| fw_agent::dataplane::kernel::KernelDataplane::open(options).unwrap()).unwrap();
    let adopted = second.adopted().unwrap();
    assert_eq!(adopted.epoch, 1);
    assert_eq!(adopted.digest, crate::rig::compile(crate::rig::POLICY).digest);
    assert_eq!(second.max_flows(), 4096, "an adopted table keeps its size");
    assert!(!other_layout.exists(), "the maps of another layout are forgotten");
    assert_eq!(second.rule_names().unwrap(), rig.dataplane.rule_names().unwrap());
}

#[test]
fn tables_of_different_sizes_are_an_error_and_no_panic() {
    let Some(rig) = Rig::new() else { return };
    let Some(other) = Rig::with(Setup { max_flows: 1024, ..Setup::default() }) else { return };
    let pin = |rig: &Rig| rig.pin_dir.join(format!("abi-{}", fw_common::ABI_VERSION)).join("TAGS6");
    std::fs::remove_file(pin(&rig)).unwrap();
    aya::maps::MapData::from_pin(pin(&other)).unwrap().pin(pin(&rig)).unwrap();
    let options = fw_agent::dataplane::kernel::KernelOptions {
        pin_dir: rig.pin_dir.clone(),
        max_flows: None,
        max_half_open: None,
    };
    let second = rig.netns.within(|| fw_agent::dataplane::kernel::KernelDataplane::open(options).unwrap()).unwrap();
    let error = second.visit_flows(&mut |_| true).unwrap_err().to_string();
    assert!(error.contains("FLOWS6") && error.contains("TAGS6"), "{error}");
}

#[test]
fn the_programs_stay_far_from_the_limit_of_the_verifier() {
    let Some(rig) = Rig::with(Setup { policy: None, ..Setup::default() }) else { return };
    for (program, instructions) in rig.dataplane.verified_instructions() {
        println!("{program}: {instructions:?}");
        // The limit is a million (BPF_COMPLEXITY_LIMIT_INSNS); other kernels and compilers need room.
        assert!(instructions.is_none_or(|count| count < 400_000), "{program}: {instructions:?}");
    }
}
