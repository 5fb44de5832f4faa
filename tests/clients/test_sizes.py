"""What the C client may cost on a microcontroller. Sizes are exact, so they are asserted."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from tools import sizes, stack
from tools.sizes import ALL, CONFIGS, CPUS, Builder, Config, Image, Size

KIB = 1024
ALL_48, ALL_16, PLAIN, LEAST = CONFIGS
HEAP = re.compile(r"malloc|calloc|realloc|free$|sbrk|alloca|operator")


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    sizes.compiler()  # or a sentence
    return Builder(tmp_path_factory.mktemp("sizes"))


@pytest.fixture(scope="module")
def images(builder: Builder) -> dict[tuple[Config, str], Image]:
    return {(config, cpu): builder.image(config, cpu) for config in CONFIGS for cpu in CPUS}


Images = dict[tuple[Config, str], Image]


@pytest.mark.parametrize("cpu", CPUS)
def test_code_and_constants_of_all_decoders(images: Images, cpu: str) -> None:
    size = images[ALL_48, cpu].size
    assert size.code <= 24 * KIB
    assert 4 * KIB < size.rodata <= 16 * KIB


@pytest.mark.parametrize("cpu", CPUS)
def test_static_memory(images: Images, cpu: str) -> None:
    for config, most in ((ALL_48, 64), (ALL_16, 32), (PLAIN, 4), (LEAST, 4)):
        size = images[config, cpu].size
        # The block is there, and the client has no memory of its own beside it.
        assert config.model_kib * KIB < size.bss <= most * KIB
        assert size.data == 0


@pytest.mark.parametrize("cpu", CPUS)
def test_code_of_the_least_client(images: Images, cpu: str) -> None:
    assert images[LEAST, cpu].size.code <= 6 * KIB


@pytest.mark.parametrize("cpu", CPUS)
def test_stack(images: Images, cpu: str) -> None:
    for config in CONFIGS:
        image = images[config, cpu]
        assert 100 < image.size.stack <= 2 * KIB
        assert image.deepest.path[0] in ("tw_client_feed", "tw_client_init")
        assert len(image.deepest.path) > 4


def test_every_listed_pointer_is_used(images: Images) -> None:
    """What is called by pointer and not listed, or listed for another pointer, is an error of the tool's."""
    objects = images[ALL, CPUS[0]].objects
    graph = stack.read(one.with_suffix(".ci") for one in objects)
    assert graph.pointers == set(stack.POINTERS)
    assert {target for targets in stack.POINTERS.values() for target in targets} <= graph.names()


@pytest.mark.parametrize("cpu", CPUS)
def test_nothing_of_a_c_library_but_three_functions(images: Images, cpu: str) -> None:
    """The link has shown that these are enough; a division is the compiler's own, and the Cortex-A9 cannot divide."""
    division = {"__aeabi_uidiv", "__aeabi_uidivmod"}
    for config in CONFIGS:
        image = images[config, cpu]
        assert set(image.needs) - sizes.LIBRARY <= (division if cpu == "cortex-a9" else set())
    assert set(images[LEAST, cpu].needs) <= sizes.LIBRARY
    names = run("arm-none-eabi-nm", images[ALL, cpu].path).split()
    assert "tw_client_feed" in names
    assert not [name for name in names if HEAP.search(name)]


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words[0]}: {done.stderr[-2000:]}"
    return done.stdout


def float_instructions(objects: list[Path] | tuple[Path, ...]) -> set[str]:
    """Mnemonics of the floating-point and vector units in these files."""
    found = re.findall(r"^ *[0-9a-f]+:\t[0-9a-f ]+\t(\S+)", run("arm-none-eabi-objdump", "-d", *objects), re.MULTILINE)
    assert found
    return {word for word in found if word.startswith("v")}


FPU = ("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


def test_no_floating_point(tmp_path: Path, images: Images) -> None:
    """With a unit at hand the compiler uses it for nothing; without one it calls nothing that stands for it."""
    assert float_instructions(Builder(tmp_path, FPU).objects(ALL, "cortex-m4")) == set()
    for image in images.values():
        assert float_instructions(image.objects) == set()


def test_floating_point_would_be_seen(tmp_path: Path) -> None:
    source, made = tmp_path / "half.c", tmp_path / "half.o"
    source.write_text("float half(float x) { return x / 2 + 1; }\n")
    run("arm-none-eabi-gcc", "-Os", "-mcpu=cortex-m4", "-mthumb", *FPU, "-c", source, "-o", made)
    assert "vadd.f32" in float_instructions([made]) or "vfma.f32" in float_instructions([made])


def test_every_switch_leaves_an_image_that_links(builder: Builder) -> None:
    for name in sizes.switches():
        assert builder.image(sizes.without(name), CPUS[0]).size.code > 4 * KIB


def test_rows_of_the_file() -> None:
    assert [field.name for field in fields(Size)] == ["cpu", "config", "code", "rodata", "data", "bss", "stack"]


# The README's tables: another compiler's figures would be others, so these are compared with those of the same alone.


def rows(text: str) -> list[list[str]]:
    """Cells of the rows of tables, without the heads."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [cells for cells in lines if re.fullmatch(r"-?[\d,]+", cells[-1])]


def number(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_the_readme_has_every_switch_and_every_image(images: Images) -> None:
    _, text, _ = sizes.parts(sizes.README.read_text(encoding="utf-8"))
    found = rows(text)
    assert [cells[:2] for cells in found if len(cells) == 6] == [
        [cpu, config.name] for config in CONFIGS for cpu in CPUS
    ]
    assert [cells[0] for cells in found if len(cells) == 4] == [f"`TW_WITH_{name}`" for name in sizes.switches()]
    # Whatever wrote the figures, the budgets hold for them.
    assert max(number(cells[2]) for cells in found if cells[1] == ALL_48.name) <= 24 * KIB
    assert max(number(cells[2]) for cells in found if cells[1] == LEAST.name) <= 6 * KIB
    if sizes.compiler() in text:
        for cells in found:
            if len(cells) == 6:
                size = next(image.size for image in images.values() if [image.size.cpu, image.size.config] == cells[:2])
                told = [number(cell) for cell in cells[2:]]
                now = [size.code, size.rodata, size.bss, size.stack]
                assert told == pytest.approx(now, rel=0.02), f"{cells[:2]}: run make sizes"


# The call graph.


def graph_of(folder: Path, program: str) -> stack.Graph:
    source = folder / "program.c"
    source.write_text(program)
    run(
        "arm-none-eabi-gcc", "-Os", "-mcpu=cortex-m4", "-mthumb", "-fno-inline", "-fcallgraph-info=su", "-c", source,
        "-o", folder / "program.o",
    )  # fmt: skip
    return stack.read([folder / "program.ci"])


CHAIN = """
void use(volatile char *bytes);
static int inner(void) { volatile char room[400]; room[0] = 1; use(room); return room[3]; }
static int outer(void) { volatile char room[40]; room[0] = 2; return inner() + room[0]; }
int tw_client_feed(void) { return outer() + 1; }
"""


def test_depth_is_the_sum_of_the_frames_on_the_way(tmp_path: Path) -> None:
    depth = stack.worst(graph_of(tmp_path, CHAIN))
    assert depth.path == ("tw_client_feed", "outer", "inner", "use")
    assert 440 + stack.OUTSIDE < depth.size < 520 + stack.OUTSIDE


def test_recursion_is_an_error(tmp_path: Path) -> None:
    program = "int b(int); int a(int x) { return x ? b(x - 1) + x : 0; } int b(int x) { return x & 1 ? a(x) * x : 1; }"
    with pytest.raises(stack.StackError, match=r"recursion: (a > b > a|b > a > b)"):
        stack.worst(graph_of(tmp_path, program))


def test_a_frame_without_a_bound_is_an_error(tmp_path: Path) -> None:
    program = "void use(char *); void a(int x) { char room[x]; use(room); }"
    with pytest.raises(stack.StackError, match="no bound of its frame"):
        graph_of(tmp_path, program)


POINTER = """
typedef struct { int (*draw)(int); } table;
static int draw_plain(int x) { volatile char room[300]; room[x] = 1; return room[1]; }
static int draw_shared(int x) { return x + 1; }
int other(int x);
int keep(int x);
int tw_client_feed(int x) { int (*const NAME)(int) = x & 1 ? draw_plain : EITHER; return NAME(x) + 1; }
int keep(int x) { return draw_shared(x) + 1; }
"""


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core is what the program above is."""
    monkeypatch.setattr(stack, "POINTERS", {"draw": ("draw_plain", "draw_shared", "left_out")})


@pytest.mark.usefixtures("drawing")
def test_a_pointer_of_the_core_is_followed(tmp_path: Path) -> None:
    program = POINTER.replace("NAME", "draw").replace("EITHER", "draw_shared")
    depth = stack.worst(graph_of(tmp_path, program))
    assert depth.path == ("tw_client_feed", "draw_plain")
    assert depth.size > 300


def test_a_pointer_that_is_not_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(stack.StackError, match="'shown' by pointer"):
        graph_of(tmp_path, POINTER.replace("NAME", "shown").replace("EITHER", "draw_shared"))


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("either", ["draw_shared", "other", "keep"])
def test_what_pointers_may_point_to_is_compared_with_the_object(tmp_path: Path, either: str) -> None:
    graph = graph_of(tmp_path, POINTER.replace("NAME", "draw").replace("EITHER", either))
    taken = stack.taken_functions(run("arm-none-eabi-objdump", "-r", tmp_path / "program.o"), [*graph.names(), "other"])
    assert taken == {"draw_plain", either}
    if either == "draw_shared":
        graph.check_pointers(taken)
    else:
        with pytest.raises(
            stack.StackError, match=f"POINTERS is wrong about draw_shared, {either}|{either}, draw_shared"
        ):
            graph.check_pointers(taken)


def test_callbacks_take_what_they_call_of_the_client(tmp_path: Path) -> None:
    program = """
    struct { void (*bell)(void *); } *callbacks;
    void tw_client_close(void) { volatile char room[700]; room[0] = 1; }
    void tw_client_feed(void *user) { volatile char room[100]; room[0] = 1; callbacks->bell(user); room[1] = 1; }
    """
    depth = stack.worst(graph_of(tmp_path, program))
    assert depth.path == ("tw_client_feed", "callback")
    assert depth.size > 800
