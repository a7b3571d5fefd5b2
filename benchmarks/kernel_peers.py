"""Peers of the kernels that no library offers, as short NumPy and SciPy programs. In and out: as the kernels of icd.refine."""

from __future__ import annotations

import cv2
import numpy as np
import scipy.sparse


def pool_in_numpy(dense, regions, frame):
    rows = np.arange(regions.shape[0], dtype=np.float32) * ((dense.shape[1] - 1) / (frame - 1))
    columns = np.arange(regions.shape[1], dtype=np.float32) * ((dense.shape[2] - 1) / (frame - 1))
    x, y = np.meshgrid(columns, rows)
    sizes, flat = np.bincount(regions.ravel()), regions.ravel()
    up = (cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in dense)
    return np.stack([np.bincount(flat, plane.ravel()) / sizes for plane in up], 1)


def merge_in_numpy(regions, features, limit):
    features, sizes = features.copy(), np.bincount(regions.ravel()).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T + 1 - (sizes[:, None] + sizes) / regions.size
    np.fill_diagonal(similarity, -np.inf)
    numbers = np.arange(len(sizes))
    for _ in range(len(sizes) - limit):
        i, j = sorted(np.unravel_index(similarity.argmax(), similarity.shape))
        features[i] = (features[i] * sizes[i] + features[j] * sizes[j]) / (sizes[i] + sizes[j])
        sizes[i] += sizes[j]
        numbers[numbers == j] = i
        similarity[j], similarity[:, j] = -np.inf, -np.inf
        unit[i] = features[i] / np.linalg.norm(features[i])
        row = unit @ unit[i] + 1 - (sizes + sizes[i]) / regions.size
        row[np.isinf(similarity[i])] = -np.inf
        similarity[i], similarity[:, i] = row, row
    return np.unique(numbers, return_inverse=True)[1][regions]


def walk_in_scipy(scores, affinities, offsets, beta, steps):
    _, height, width = scores.shape
    index = np.arange(height * width).reshape(height, width)
    matrix = scipy.sparse.identity(height * width, np.float32, "csr")
    for plane, (dy, dx) in zip(affinities, offsets):
        left, right = max(0, -dx), width - max(0, dx)
        one, other = index[: height - dy, left:right], index[dy:, left + dx : right + dx]
        values = plane[: height - dy, left:right].ravel() ** beta
        half = scipy.sparse.coo_matrix((values, (one.ravel(), other.ravel())), matrix.shape)
        matrix = matrix + half + half.T
    matrix = matrix @ scipy.sparse.diags(1 / np.asarray(matrix.sum(0)).ravel())
    transposed, state = matrix.T.tocsr().astype(np.float32), scores.reshape(len(scores), -1).T.copy()
    for _ in range(steps):
        state = transposed @ state
    return state.T.reshape(scores.shape)


def walk_dense(scores, affinities, offsets, beta, power):
    _, height, width = scores.shape
    matrix = np.eye(height * width, dtype=np.float32)
    index = np.arange(height * width).reshape(height, width)
    for plane, (dy, dx) in zip(affinities, offsets):
        left, right = max(0, -dx), width - max(0, dx)
        one, other = index[: height - dy, left:right], index[dy:, left + dx : right + dx]
        matrix[one, other] = matrix[other, one] = plane[: height - dy, left:right]
    matrix **= beta
    matrix /= matrix.sum(0)
    for _ in range(power):
        matrix = matrix @ matrix
    return (scores.reshape(len(scores), -1) @ matrix).reshape(scores.shape)


def path_affinities_in_numpy(boundary, radius, paths):
    reach = radius - 1
    rows, columns = boundary.shape[0] - reach, boundary.shape[1] - 2 * reach
    source = np.arange(boundary.size).reshape(boundary.shape)[:rows, reach : reach + columns].ravel()
    return np.stack([1 - boundary.ravel()[source + path[:, None]].max(0) for path in paths])
