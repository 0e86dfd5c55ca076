"""The generator against CASA's own wrappers, and the committed wrappers against the generator."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import casatasks
import pytest
from casatools.coercetype import coerce

from casa_ml_tasks import task_definition, task_generator
from casa_ml_tasks.wrappers.base import schema
from casa_ml_tasks.wrappers.deepfocus import deepfocus
from casa_ml_tasks.wrappers.jointdeconv import jointdeconv
from casa_ml_tasks.wrappers.resolveimage import resolveimage
from casa_ml_tasks.wrappers.rmlclean import rmlclean

pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence:SyntaxWarning")  # in CASA's own docstrings

REPOSITORY = Path(__file__).parents[1]
STOCK_XML = Path(casatasks.__file__).parent / "__xml__"

MINIMAL = """<casaxml xmlns="http://casa.nrao.edu/schema/psetTypes.html">
<task type="function" name="greet" category="imaging">
<shortdescription>Greets</shortdescription>
<description>Greets.</description>
<input>
<param type="string" name="mode"><shortdescription>Kind</shortdescription><value>plain</value></param>
<param type="double" name="volume" subparam="true"><shortdescription>Volume</shortdescription><value>0.5</value></param>
<constraints>
<when param="mode"><equals value="loud"><default param="volume"><value>0.5</value></default></equals></when>
</constraints>
</input>
<returns type="record"/>
<example>greet()</example>
</task>
</casaxml>
"""


def read_variant(tmp_path: Path, old: str, new: str) -> task_definition.TaskDefinition:
    """Read the minimal task with `old` replaced by `new`."""
    assert old in MINIMAL
    path = tmp_path / "greet.xml"
    path.write_text(MINIMAL.replace(old, new, 1))
    return task_definition.read_task(path)


def test_a_definition_is_read(tmp_path):
    task = read_variant(tmp_path, "Greets.", "Greets loudly.")
    mode, volume = task.parameters
    assert (task.name, task.category, task.description) == ("greet", "imaging", "Greets loudly.")
    assert (mode.default, mode.annotation, mode.is_subparameter) == ("plain", "str", False)
    assert (volume.default, volume.annotation, volume.is_subparameter) == (0.5, "float", True)
    assert task.constraints == (task_definition.Constraint("volume", "mode", "==", "loud", 0.5),)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("<example>", "<hint/><example>", "<hint> is not an element"),
        ("<input>", "<input><param type='string' name='mode'/>", "'mode' is defined twice"),
        ("<value>0.5</value></param>", "<value>high</value></param>", "default 'high', which is no double"),
        ('type="double"', 'type="float"', "'volume' has the type 'float'"),
        ('when param="mode"', 'when param="mood"', "names 'mood', which is no parameter"),
        ('default param="volume"', 'default param="loudness"', "'volume' needs both subparam"),
        ("<value>0.5</value></default>", "<value>2.0</value></default>", "default 0.5, but 2.0 where 'mode' == 'loud'"),
        ('name="greet"', 'name="salute"', "named 'salute'; name it 'greet'"),
        (' subparam="true"', "", "'volume' needs both subparam"),
        ("<input>", "<input><param type='string' name='x' subparam='true'/>", "'x' needs both subparam"),
    ],
)
def test_a_faulty_definition_is_refused(tmp_path, old, new, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_variant(tmp_path, old, new)


PART = """<part xmlns="http://casa.nrao.edu/schema/psetTypes.html" title="Words">
<param type="string" name="word">
<shortdescription>Word</shortdescription><description>Any.</description><value>hello</value>
</param>
<param type="int" name="times"><shortdescription>Times</shortdescription><value>1</value></param>
<constraints><when param="mode"><equals value="loud"><default param="times"/></equals></when></constraints>
</part>
"""
INCLUDE = """<input><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="parts/words.xml"/>
<override params="times" subparam="true"><shortdescription>How often</shortdescription></override>
"""


@pytest.fixture
def words(tmp_path):
    """A part beside the minimal task."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "words.xml").write_text(PART)


def test_a_part_is_included_in_its_place_with_what_differs(tmp_path, words):
    task = read_variant(tmp_path, "<input>", INCLUDE)
    word, times, mode, _ = task.parameters
    assert (word.name, word.default, word.summary, word.description, word.group) == (
        *("word", "hello", "Word", "Any.", "Words"),
    )
    assert (times.name, times.default, times.summary, times.is_subparameter) == ("times", 1, "How often", True)
    assert mode.group == ""
    assert [(c.parent, c.value) for c in task.constraints_of("times")] == [("mode", "loud")]


def test_a_parameter_that_is_ignored_says_so_instead_of_what_it_does(tmp_path, words):
    word = read_variant(tmp_path, "<input>", INCLUDE + '<ignored params="word"/>').parameters[0]
    assert (word.default, word.summary, word.description) == ("hello", "Word: ignored", "")


@pytest.mark.parametrize("tag", ["override", "ignored"])
def test_what_differs_must_be_there(tmp_path, words, tag):
    with pytest.raises(ValueError, match=f"<{tag}> names 'wood', which is no parameter"):
        read_variant(tmp_path, "<input>", f'{INCLUDE}<{tag} params="wood"/>')


def test_a_constraint_on_an_unknown_subparameter_is_refused(tmp_path):
    extra = '<default param="loudness"/></equals>'
    with pytest.raises(ValueError, match="names 'loudness', which is no parameter"):
        read_variant(tmp_path, "</equals>", extra)


@pytest.mark.parametrize("name", [path.stem for path in sorted((REPOSITORY / "xml").glob("*.xml"))])
@pytest.mark.parametrize("folder", ["wrappers", "gotasks"])
def test_the_committed_wrappers_are_what_the_generator_writes(folder, name):
    write = {"wrappers": task_generator.script_wrapper, "gotasks": task_generator.prompt_wrapper}[folder]
    source = write(task_definition.read_task(REPOSITORY / "xml" / f"{name}.xml"))
    path = REPOSITORY / "casa_ml_tasks" / folder / f"{name}.py"
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    formatted = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout
    assert path.read_text() == formatted, "run `make wrappers`"


def test_the_committed_reference_of_parameters_is_what_the_generator_writes():
    tasks = [task_definition.read_task(path) for path in sorted((REPOSITORY / "xml").glob("*.xml"))]
    reference = (REPOSITORY / "docs" / "parameters.md").read_text()
    assert reference == task_generator.parameter_reference(tasks), "run `make wrappers`"
    for name in {parameter.name for task in tasks for parameter in task.parameters}:
        assert reference.count(f"| `{name}` | ") == 1


def stock_schema(name: str) -> dict:
    """The rules in the stock wrapper casatasks.NAME, which are a literal but for the names of coercions."""
    tree = ast.parse((STOCK_XML.parent / f"{name}.py").read_text())
    literal = next(
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "schema"
    )
    return eval(compile(ast.Expression(literal), name, "eval"), {"_coerce": coerce})


def unordered(rule: dict) -> dict:
    """The rule with its alternatives and allowed values sorted: the order means nothing and varies with releases."""
    sorted_parts = {key: sorted(map(str, rule[key])) for key in ("anyof", "allowed") if key in rule}
    return rule | sorted_parts


def our_rule(parameter: task_definition.Parameter) -> dict | None:
    """The rule in the wrapper that we would generate; None for a type that does not exist, such as 'floatVec'."""
    try:
        return unordered(eval(f"schema({parameter.schema})", {"schema": schema}))
    except KeyError:
        return None


@pytest.fixture(scope="module")
def conformity() -> dict[str, list[tuple[bool, bool]]]:
    """For each stock task, whether each parameter's rule and default are the stock wrapper's."""
    found = {}
    for path in STOCK_XML.glob("*.xml"):
        wrapper = getattr(casatasks, path.stem, None)
        if not hasattr(wrapper, "_info_group_"):
            continue
        defaults = {p.name: p.default for p in inspect.signature(wrapper).parameters.values()}
        rules = stock_schema(path.stem)
        found[path.stem] = [
            (
                our_rule(p) == unordered(rules[p.name]),
                p.default == defaults[p.name],
            )
            for p in task_definition.read_parameters(ElementTree.parse(path).getroot())
            if p.name in rules and p.name in defaults
        ]
    return found


def test_tclean_conforms_with_its_stock_wrapper(conformity):
    assert len(conformity["tclean"]) == len(stock_schema("tclean"))
    assert all(rule and default for rule, default in conformity["tclean"])


def test_stock_tasks_conform_but_for_known_oddities(conformity):
    """A few stock XMLs give a default of the wrong type, which CASA's own generator reads in its own way."""
    pairs = [pair for task in conformity.values() for pair in task]
    rules, defaults = (sum(flags) for flags in zip(*pairs, strict=True))
    assert len(pairs) >= 1840
    assert rules / len(pairs) > 0.985
    assert defaults / len(pairs) > 0.99


KERNELS = ["imager", "smearing", "device"]
NOISE = ["noisescale", "likelihood", "noisemodel", "blockmodel"]
REGULARISATION = ["regularizer", "regstrength", "priorimage", "positivity"]
SAMPLING = ["nsamples", "maxglobal", "seed"]
MAPS = ["sdimage", "sdbeam", "sdnoise", "sdscale"]
SOURCES = ["dirtyimage", "psfimage", *KERNELS, "weights", "truth"]
PRIORS = ["offset", "offsetstd", "fluctuations", "slope", "flexibility", "asperity"]


@pytest.mark.parametrize(
    ("task", "new"),
    [
        (rmlclean, [*KERNELS, "minorcycle", *REGULARISATION, *NOISE, "cluster"]),
        (resolveimage, [*KERNELS, *SAMPLING, "pointsources", "components", *PRIORS, *NOISE, "cluster"]),
        (jointdeconv, [*KERNELS, *MAPS, "fluxscale", "inference", *REGULARISATION, *SAMPLING, *NOISE, "cluster"]),
        (deepfocus, [*SOURCES, *NOISE, "cluster"]),
    ],
    ids=["rmlclean", "resolveimage", "jointdeconv", "deepfocus"],
)
def test_a_task_takes_what_tclean_takes_with_the_same_defaults(task, new):
    ours = {p.name: p.default for p in inspect.signature(task).parameters.values()}
    theirs = {p.name: p.default for p in inspect.signature(casatasks.tclean).parameters.values()}
    assert [name for name in ours if name not in new] == list(theirs)
    assert [name for name in ours if name not in theirs] == new
    assert {name: ours[name] for name in theirs if ours[name] != theirs[name]} == {"niter": -1}


@pytest.mark.parametrize(
    "task",
    [rmlclean, resolveimage, jointdeconv, deepfocus],
    ids=["rmlclean", "resolveimage", "jointdeconv", "deepfocus"],
)
def test_a_task_checks_types_as_tclean_does_and_knows_a_gridder_more(task):
    rules = stock_schema("tclean")
    rules["gridder"] = rules["gridder"] | {"allowed": [*rules["gridder"]["allowed"], "native"]}
    if task is deepfocus:  # in which a dirty image may stand in the place of visibilities
        rules["vis"] = {"anyof": [schema("path"), schema("pathVec")]}
    assert {name: unordered(task._schema_[name]) for name in rules} == {n: unordered(r) for n, r in rules.items()}
