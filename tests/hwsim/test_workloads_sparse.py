"""The grammar of sparse workloads: what each text becomes, and the sentence when it is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sparse_strategies import same

from hwsim.errors import UserError
from hwsim.models.rmat import RmatSpec, rmat
from hwsim.models.sparse import Csr
from hwsim.models.sparse_nets import gcn
from hwsim.workloads_sparse import is_sparse, load_sparse, workload_name

SQUARE = "%%MatrixMarket matrix coordinate real general\n3 3 4\n1 1 1\n1 1 2\n2 3 0\n3 1 5\n"
WIDE = "%%MatrixMarket matrix coordinate pattern general\n2 3 3\n1 1\n1 3\n2 2\n"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder to work in, with two small matrices."""
    monkeypatch.chdir(tmp_path)
    Path("square.mtx").write_text(SQUARE)
    Path("wide.mtx").write_text(WIDE)
    return tmp_path


@pytest.mark.parametrize(
    ("workload", "sparse"),
    [
        ("rmat:scale=3", True),
        ("a/b.mtx", True),
        (Path("b.mtx.gz"), True),
        ("mtx:path=b", True),
        ("gcn:adjacency=a.mtx", True),
        ("sparse-dnn:neurons=1024", True),
        (sp.eye_array(3), True),
        (sp.csr_matrix((2, 2)), True),
        (Csr.from_scipy(sp.eye_array(3)), True),
        ("resnet50", False),
        ("net.onnx", False),
        ("rmat", False),
        (3, False),
    ],
)
def test_what_is_sparse(workload, sparse):
    assert is_sparse(workload) is sparse


def test_a_square_file_is_multiplied_by_itself(folder):
    network = load_sparse("square.mtx")
    (product,) = network.products
    assert (network.name, product.layer, product.op) == ("square.mtx", "aa", "spgemm")
    assert product.square_of_a and product.a.to_dense().tolist() == [
        [3, 0, 0],
        [0, 0, 0],
        [5, 0, 0],
    ]
    assert network.notes == (
        "square.mtx: 1 duplicate entries summed",
        "square.mtx: 1 explicit zeros dropped",
    )


def test_op(folder):
    (product,) = load_sparse(Path("square.mtx"), op="aat").products
    assert product.layer == "aat" and same(product.b, product.a.transpose())
    (product,) = load_sparse("wide.mtx").products
    assert (product.layer, product.m, product.k, product.n) == ("aat", 2, 3, 2)
    with pytest.raises(UserError, match="op=aa needs a square matrix, but got 2 x 3"):
        load_sparse("wide.mtx", op="aa")
    with pytest.raises(UserError, match="op must be aa or aat, but got 'ab'"):
        load_sparse("wide.mtx", op="ab")


def test_two_files(folder):
    (product,) = load_sparse("mtx:path=wide.mtx,b=square.mtx,zeros=keep").products
    assert (product.layer, product.m, product.k, product.n) == ("ab", 2, 3, 3)
    assert (product.a.nnz, product.b.nnz) == (3, 3)
    with pytest.raises(UserError, match="but got A 3 x 3 and B 2 x 3"):
        load_sparse("mtx:path=square.mtx,b=wide.mtx")
    with pytest.raises(UserError, match="op is for one matrix, and b=FILE is a second one"):
        load_sparse("mtx:path=square.mtx,b=square.mtx", op="aa")


def test_names(folder):
    assert workload_name(Path("a/b.mtx")) == "a/b.mtx"
    assert workload_name(load_sparse("wide.mtx")) == "wide.mtx"
    assert workload_name(3) == "int"


def test_explicit_zeros_are_a_choice(folder):
    assert load_sparse("mtx:path=square.mtx").products[0].a.nnz == 2
    kept = load_sparse("mtx:path=square.mtx,zeros=keep")
    assert kept.products[0].a.nnz == 3
    assert kept.notes[1] == "square.mtx: 1 explicit zeros kept"


def test_rmat_text():
    network = load_sparse("rmat:scale=5,edges=99,seed=4,a=.4,b=.3,c=.2,values=uniform,permute=yes")
    spec = RmatSpec(
        scale=5,
        edges=99,
        seed=4,
        probabilities=(0.4, 0.3, 0.2, 1 - 0.4 - 0.3 - 0.2),
        values="uniform",
        permute=True,
    )
    assert same(network.products[0].a, rmat(spec).matrix)
    assert network.notes[0].startswith(f"rmat: {rmat(spec).duplicates} duplicate edges merged")


def test_the_seed_is_the_texts_or_else_the_callers():
    text = "rmat:scale=6,edges=200"
    assert same(
        load_sparse(text, seed=3).products[0].a, load_sparse(f"{text},seed=3").products[0].a
    )
    assert same(
        load_sparse(f"{text},seed=3", seed=9).products[0].a,
        load_sparse(f"{text},seed=3").products[0].a,
    )
    assert not same(load_sparse(text, seed=3).products[0].a, load_sparse(text).products[0].a)


def test_objects_of_python():
    dense = np.array([[0, 2.0], [1, 0]])
    for matrix in (sp.csc_array(dense), sp.coo_matrix(dense), Csr.from_scipy(dense)):
        network = load_sparse(matrix)
        assert network.products[0].a.to_dense().tolist() == dense.tolist()
        assert network.name == workload_name(matrix) == "matrix 2 x 2, 2 entries"
        assert load_sparse(network) is network
    with pytest.raises(UserError, match="real numbers, but got dtype complex128"):
        load_sparse(sp.csr_array(dense * 1j))
    with pytest.raises(UserError, match="2 entries: values must be finite, but got nan"):
        load_sparse(sp.csr_array(np.array([[np.nan, 1.0]])))


def test_gcn_text(folder):
    network = load_sparse("gcn:adjacency=square.mtx,inputs=20,density=.2,hidden=4,classes=2")
    ends = [(p.layer, p.n) for p in network.products[1::2]]
    assert ends == [("gcn0.axw", 4), ("gcn1.axw", 2)]
    assert {p.layer for p in network.products[::2]} <= {"gcn0.xw", "gcn0.ax", "gcn1.xw", "gcn1.ax"}
    assert "gcn: 20 binary features a vertex generated, density 0.2" in network.notes
    Path("x.mtx").write_text(WIDE.replace("2 3 3", "3 3 3"))
    given = load_sparse("gcn:adjacency=square.mtx,features=x.mtx,weights=1:2", seed=6)
    a, x = load_sparse("square.mtx").products[0].a, load_sparse("x.mtx").products[0].a
    expected = gcn(a, x, name="", weights="1:2", seed=6)
    for one, other in zip(given.products, expected.products, strict=True):
        assert same(one.a, other.a) and same(one.b, other.b)


def test_gcn_on_a_generated_graph():
    text = "gcn:adjacency=rmat:scale=4,edges=30,hidden=4,seed=2,inputs=9,density=.3"
    network = load_sparse(text)
    loops = np.eye(16) + load_sparse("rmat:scale=4,edges=30,seed=2").products[0].a.to_dense()
    assert network.products[1].a.nnz == np.count_nonzero(loops + loops.T)
    assert network.notes[0].startswith("rmat: ")


def test_sparse_dnn_text(folder):
    network = load_sparse("sparse-dnn:neurons=64,layers=3,images=5,density=.4,bias=-.1,seed=8")
    assert [(p.m, p.k, p.n, p.b.nnz) for p in network.products] == [(5, 64, 64, 2048)] * 3
    assert network.notes[0] == "sparse-dnn: 5 binary images generated, mean density 0.4"
    assert [p.layer for p in load_sparse("sparse-dnn:images=1").products] == [
        f"layer{n}" for n in range(6)
    ]
    files = load_sparse("sparse-dnn:images=wide.mtx,weights=square.mtx+square.mtx,bias=-1")
    assert [p.b.nnz for p in files.products] == [2, 2]
    assert files.products[1].a.to_dense().tolist() == [[7, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("workload", "sentence"),
    [
        ("nope.mtx", "nope.mtx does not exist"),
        ("rmat:", "workload rmat:: KEY=VALUE is needed, but got ''"),
        ("rmat:edges=5", "rmat needs scale=N, the log2 of its vertices"),
        ("rmat:scale=2,scale=3", "scale is given twice"),
        ("rmat:scale=2,colour=red", "'colour' is not one of scale, edges, seed"),
        ("rmat:scale=two", "scale must be an integer, but got 'two'"),
        ("rmat:scale=2,edges=2147483648", "0 <= edges <= 2^31 - 1 must hold, but got 2147483648"),
        ("rmat:scale=2,a=.5", "a, b and c are given together, but got only a"),
        ("rmat:scale=2,a=.5,b=.5,c=.5", "must not be negative and sum to 1"),
        ("rmat:scale=2,a=nan,b=0,c=0", "a must be a number, but got 'nan'"),
        ("rmat:scale=2,permute=maybe", "permute must be one of yes, no, but got 'maybe'"),
        ("mtx:zeros=keep", "path=FILE is missing"),
        ("mtx:path=square.mtx,zeros=some", "zeros is drop or keep, but got 'some'"),
        ("gcn:hidden=3", "adjacency=FILE or adjacency=rmat:scale=N is missing"),
        ("gcn:adjacency=nope.mtx", "nope.mtx does not exist"),
        ("gcn:adjacency=square.mtx,scale=3", "scale is for adjacency=rmat:scale=N"),
        ("gcn:adjacency=rmat:scale=3,scale=3", "scale is given twice"),
        ("gcn:adjacency=square.mtx,hidden=0", "hidden must be at least 1, but got 0"),
        ("gcn:adjacency=wide.mtx", "an adjacency matrix is square, but got 2 x 3"),
        ("gcn:adjacency=square.mtx,features=wide.mtx", "3 vertices and 2 rows"),
        ("gcn:adjacency=square.mtx,features=wide.mtx,inputs=3", "are for generated features"),
        ("gcn:adjacency=square.mtx,weights=9:8", "1 <= N <= M <= 32, but got N=9, M=8"),
        ("sparse-dnn:neurons=64", "bias=NUMBER is needed unless neurons is 1024, 4096, 16384"),
        ("sparse-dnn:neurons=48,bias=0,images=wide.mtx", "16 times a power of two, but got 48"),
        ("sparse-dnn:bias=inf", "bias must be a number, but got 'inf'"),
        ("sparse-dnn:images=wide.mtx", "columns of A must equal rows of B"),
        ("sparse-dnn:images=wide.mtx,density=.1", "density is for generated images"),
        ("sparse-dnn:weights=square.mtx,layers=2", "neurons and layers are for generated weights"),
    ],
)
def test_one_sentence_for_each_mistake(folder, workload, sentence):
    with pytest.raises(UserError) as caught:
        load_sparse(workload)
    text = str(caught.value)
    assert sentence in text and "\n" not in text
    assert workload in text or sentence.startswith(workload)


def test_networks_take_no_op_and_matrices_need_a_row(folder):
    with pytest.raises(UserError, match="a network defines its products and takes no op"):
        load_sparse("sparse-dnn:images=1", op="aa")
    with pytest.raises(UserError, match="a matrix needs a row and a column, but got 0 x 3"):
        load_sparse(sp.csr_array((0, 3)))
    with pytest.raises(UserError, match="--seed must not be negative, but got -1"):
        load_sparse("square.mtx", seed=-1)
