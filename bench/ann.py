"""Approximate indexes of others, as they come from PyPI, behind one small face."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors, int], npt.NDArray[Any]]  # queries, effort -> ids [m, K]
K = 10
EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


def recall(ids: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """The share of the true best that was found."""
    found = sum(len(set(a.tolist()) & set(b.tolist())) for a, b in zip(ids, truth, strict=True))
    return found / truth.size


def effort_for(
    search: Search,
    queries: Vectors,
    truth: npt.NDArray[Any],
    wanted: float,
    efforts: tuple[int, ...] = EFFORTS,
) -> int | None:
    """The least effort that reaches the recall on these queries, or None."""
    for effort in efforts:
        if recall(search(queries, effort), truth) >= wanted:
            return effort
    return None


def hnswlib(vectors: Vectors, threads: int) -> Search:
    """hnswlib: M=16, efConstruction=200."""
    import hnswlib

    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=200)
    index.add_items(vectors, num_threads=threads)

    def search(queries: Vectors, effort: int) -> npt.NDArray[Any]:
        index.set_ef(max(effort, K))
        ids: npt.NDArray[Any] = index.knn_query(queries, k=K, num_threads=1)[0]
        return ids

    return search


def faiss_hnsw(vectors: Vectors, threads: int) -> Search:
    """faiss: HNSW, M=16, efConstruction=200."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)
    faiss.omp_set_num_threads(1)

    def search(queries: Vectors, effort: int) -> npt.NDArray[Any]:
        parameters = faiss.SearchParametersHNSW(efSearch=max(effort, K))
        ids: npt.NDArray[Any] = index.search(queries, K, params=parameters)[1]
        return ids

    return search


def faiss_ivf_pq(vectors: Vectors, threads: int) -> Search:
    """faiss: IVF with 4-bit PQ fast scan, the best 100 ranked again by the vectors."""
    import faiss

    faiss.omp_set_num_threads(threads)
    lists = max(16, int(np.sqrt(len(vectors))))
    index = faiss.index_factory(
        vectors.shape[1],
        f"IVF{lists},PQ{vectors.shape[1] // 2}x4fs,RFlat",
        faiss.METRIC_INNER_PRODUCT,
    )
    index.train(vectors)
    index.add(vectors)
    faiss.omp_set_num_threads(1)

    def search(queries: Vectors, effort: int) -> npt.NDArray[Any]:
        inner = faiss.SearchParametersIVF(nprobe=max(1, effort // 4))
        parameters = faiss.IndexRefineSearchParameters(k_factor=10, base_index_params=inner)
        ids: npt.NDArray[Any] = index.search(queries, K, params=parameters)[1]
        return ids

    return search


def usearch(vectors: Vectors, threads: int) -> Search:
    """usearch: float32, connectivity 16."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16)
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def search(queries: Vectors, effort: int) -> npt.NDArray[Any]:
        index.expansion_search = max(effort, K)
        ids: npt.NDArray[Any] = index.search(queries, K, threads=1).keys
        return ids

    return search


def rabitq(vectors: Vectors, threads: int) -> Search:
    """rabitqlib: SymphonyQG, degree 32; on unit vectors distance ranks as the inner product."""
    import rabitqlib

    index = rabitqlib.SymqgIndex(vectors.shape[1], 32, "l2")
    index.build(vectors, 200, threads)

    def search(queries: Vectors, effort: int) -> npt.NDArray[Any]:
        first, second = index.search_batch(queries, K, max(effort, K), 1)
        return np.asarray(first if np.issubdtype(first.dtype, np.integer) else second)

    return search


PEERS: dict[str, tuple[str, Callable[[Vectors, int], Search]]] = {
    "rabitqlib SymphonyQG": ("rabitqlib", rabitq),
    "hnswlib": ("hnswlib", hnswlib),
    "faiss HNSW": ("faiss", faiss_hnsw),
    "faiss IVF-PQ": ("faiss", faiss_ivf_pq),
    "usearch": ("usearch", usearch),
}


def present(module: str) -> bool:
    """Whether it is installed."""
    return importlib.util.find_spec(module) is not None
