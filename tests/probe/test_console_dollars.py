"""``$0`` in cells, as IPython runs them."""

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from moedesk.probe.console.dollars import DollarTransformer, expand

CASES = {
    "$0": "sel[0]",
    "$4.counts.sum()": "sel[4].counts.sum()",
    "x = $0 + $_": "x = sel[0] + _",
    "$0.module.weight[$1.expert]": "sel[0].module.weight[sel[1].expert]",
    "f($0)if $1 else 2": "f(sel[0])if sel[1] else 2",
    "é = $0  # $0": "é = sel[0]  # $0",
    "# $0\n$1": "# $0\nsel[1]",
    "def f():\n    return [\n        $0,\n        $1.path]\n": "def f():\n    return [\n        sel[0],\n        sel[1].path]\n",
    "a + \\\n  $0": "a + \\\n  sel[0]",
    "'$0' + \"$1\"": "'$0' + \"$1\"",
    "'''\n$0\n''' + $3": "'''\n$0\n''' + sel[3]",
    "r'$0', b'$0', $0": "r'$0', b'$0', sel[0]",
    'f"{$0.expert} $0 {{$0}}"': 'f"{sel[0].expert} $0 {{$0}}"',
    "f\"{d['$0']} {$1:>{$2}}\"": "f\"{d['$0']} {sel[1]:>{sel[2]}}\"",
    "f'''\n{$0}\n$0 {\n $1}'''": "f'''\n{sel[0]}\n$0 {\n sel[1]}'''",
    'f"{ {1: {2: $0}} } $0"': 'f"{ {1: {2: sel[0]}} } $0"',
    "rf'{$0}' 'x $0'": "rf'{sel[0]}' 'x $0'",
    "$5 $00 $foo $": "$5 $00 $foo $",  # no dollars of ours: Python says what it thinks of them
}
IPYTHON = {
    "!echo $0": "get_ipython().system('echo $0')\n",
    "!!echo $0": "get_ipython().getoutput('echo $0')\n",
    "x = !echo $0": "x = get_ipython().getoutput('echo $0')\n",
    "!echo $0\n$0": "get_ipython().system('echo $0')\nsel[0]\n",
    "$0\n!echo $1": "sel[0]\nget_ipython().system('echo $1')\n",
    "%timeit f($0)": "get_ipython().run_line_magic('timeit', 'f($0)')\n",
    "x = %sql select $0": "x = get_ipython().run_line_magic('sql', 'select $0')\n",
    "%%bash\necho $0": "get_ipython().run_cell_magic('bash', '', 'echo $0\\n')\n",
    "$0?": "get_ipython().run_line_magic('pinfo', 'sel[0]')\n",
    "$0.counts?": "get_ipython().run_line_magic('pinfo', 'sel[0].counts')\n",
    ">>> $0": "sel[0]\n",
    "    $0\n    $1": "sel[0]\nsel[1]\n",
}


@pytest.mark.parametrize("typed", CASES)
def test_dollars_in_python(typed: str) -> None:
    assert expand(typed) == CASES[typed]


@pytest.mark.parametrize("typed", [*CASES, *IPYTHON])
def test_dollars_among_ipythons_own_syntax(typed: str) -> None:
    manager = TransformerManager()
    manager.token_transformers.append(DollarTransformer)
    expected = IPYTHON.get(typed) or CASES[typed].rstrip("\n") + "\n"
    assert manager.transform_cell(typed) == expected


def test_an_unfinished_cell_is_known_as_such() -> None:
    manager = TransformerManager()
    manager.token_transformers.append(DollarTransformer)
    assert manager.check_complete("$0")[0] == "complete"
    assert manager.check_complete("f($0,")[0] == "incomplete"
    assert manager.check_complete("for x in $0:")[0] == "incomplete"


def test_many_dollars_in_a_cell() -> None:
    """IPython allows 500 transformations a cell; nobody types more."""
    manager = TransformerManager()
    manager.token_transformers.append(DollarTransformer)
    assert manager.transform_cell("$0, " * 100) == "sel[0], " * 100 + "\n"
