//! The stack of the programs, counted as Linux 6.1 counts it, which has less than later kernels.
//!
//! `check_max_stack_depth` (kernel/bpf/verifier.c) adds the stacks of all functions that call each other, each rounded up to 32
//! bytes on 6.1 and to 16 since 6.7, and refuses more than 512.

use std::collections::BTreeMap;

use fw_agent::dataplane::kernel::OBJECT;
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind};

/// The most that the kernel allows (`MAX_BPF_STACK`).
const LIMIT: i32 = 512;
/// What the stack of a function is rounded up to on 6.1.
const GRAIN: i32 = 32;
/// The length of an instruction in bytes.
const INSTRUCTION: u64 = 8;
/// The register that points to the end of the stack.
const FRAME: u8 = 10;

/// Where a function begins: the number of its section, and the offset there.
type Place = (usize, u64);

#[derive(Default)]
struct Function {
    name: String,
    stack: i32,
    calls: Vec<Place>,
}

/// The functions of the object.
fn functions() -> BTreeMap<Place, Function> {
    let file: ElfFile64<'_, Endianness> = ElfFile64::parse(OBJECT).unwrap();
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let read = |symbol: object::read::elf::ElfSymbol64<'_, '_, Endianness>| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        let relocations: BTreeMap<u64, Place> = section
            .relocations()
            .filter_map(|(offset, relocation)| {
                let RelocationTarget::Symbol(index) = relocation.target() else { return None };
                let target = file.symbol_by_index(index).ok()?;
                Some((offset, (target.section_index()?.0, target.address())))
            })
            .collect();
        let start = symbol.address();
        let code = section.data().ok()?.get(start as usize..(start + symbol.size()) as usize)?;
        let mut function = Function { name: symbol.name().ok()?.to_owned(), ..Function::default() };
        read_code(code, (section.index().0, start), &relocations, &mut function);
        Some(((section.index().0, start), function))
    };
    symbols.filter_map(read).collect()
}

/// Reads the instructions of a function (RFC 9669, sections 3 to 5).
fn read_code(code: &[u8], (section, start): Place, relocations: &BTreeMap<u64, Place>, function: &mut Function) {
    let mut copy_of_frame = [false; 16];
    for (at, instruction) in (start..).step_by(INSTRUCTION as usize).zip(code.as_chunks::<8>().0) {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = *instruction;
        let (to, from) = (registers & 15, registers >> 4);
        let offset = i32::from(i16::from_le_bytes([o0, o1]));
        let immediate = i32::from_le_bytes([i0, i1, i2, i3]);
        // Stores go to the frame by their target, loads by their source.
        let is_store = matches!(opcode & 7, 2 | 3) && to == FRAME;
        let is_load = opcode & 7 == 1 && from == FRAME;
        if is_store || is_load {
            function.stack = function.stack.max(-offset);
        }
        match opcode {
            0xbf => copy_of_frame[usize::from(to)] = from == FRAME,
            0x07 if copy_of_frame[usize::from(to)] => {
                function.stack = function.stack.max(-immediate);
                copy_of_frame[usize::from(to)] = false;
            }
            _ if matches!(opcode & 7, 0 | 4 | 7) => copy_of_frame[usize::from(to)] = false,
            _ => {}
        }
        let here = |distance: i64| at.checked_add_signed(INSTRUCTION as i64 * distance);
        match (opcode, from, relocations.get(&at)) {
            // A call of a function, and the address of one, which is a callback: of a symbol, or of a place in its section.
            (0x85, 1, Some((target, address))) => {
                let offset = (i64::from(immediate) + 1) * INSTRUCTION as i64;
                function.calls.extend(address.checked_add_signed(offset).map(|address| (*target, address)));
            }
            (0x85, 1, None) => function.calls.extend(here(i64::from(immediate) + 1).map(|address| (section, address))),
            (0x18, _, Some((target, address))) => {
                function.calls.extend(address.checked_add_signed(immediate.into()).map(|address| (*target, address)));
            }
            _ => {}
        }
    }
}

/// The deepest way from a function, and the stack that it takes.
fn deepest(functions: &BTreeMap<Place, Function>, place: Place) -> (i32, Vec<String>) {
    let function = &functions[&place];
    let own = ((function.stack + GRAIN - 1) / GRAIN).max(1) * GRAIN;
    let called = function.calls.iter().filter(|called| functions.contains_key(called));
    let (below, way) =
        called.map(|called| deepest(functions, *called)).max_by_key(|(stack, _)| *stack).unwrap_or_default();
    (own + below, [vec![format!("{} ({})", function.name, function.stack)], way].concat())
}

#[test]
fn the_stacks_fit_linux_6_1() {
    let functions = functions();
    let programs: Vec<_> = functions.iter().filter(|(_, function)| function.name.starts_with("fw_")).collect();
    assert!(programs.len() >= 9, "{}", programs.len());
    assert!(functions.len() > 40, "the functions that they call: {}", functions.len());
    let mut most = 0;
    for (place, function) in programs {
        let (stack, way) = deepest(&functions, *place);
        println!("{}: {stack} bytes", function.name);
        assert!(stack <= LIMIT, "{}: {stack} bytes by way of {way:#?}", function.name);
        most = most.max(stack);
    }
    assert!(most > LIMIT / 2, "more than nothing was counted: {most}");
}
