"""Faults, one small one each: where it is put, and what is replaced by what."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """One fault: an expression or a statement of a function, and what stands in its place ("" removes a statement)."""

    fault: str
    module: str
    function: str
    old: str
    new: str


_READER, _CACHE, _ENGINE = "sources/chunk_reader.py", "_util/cache.py", "engine/engine.py"
_COMPUTATION = "_util/computation.py"
_APP, _KEYS, _RANGES = "server/app.py", "store/keys.py", "server/ranges.py"
_RUN, _LOCAL, _LOCK = "writing/run.py", "kvstore/local.py", "writing/lock.py"
_FLIGHT = "SingleFlightCache"

MUTANTS = tuple(
    Mutant(*fields)
    for fields in (
        # Source
        ("S1", _READER, "ChunkReader.read", "chunks.fill_value", "np.zeros_like(chunks.fill_value)"),
        ("S2", "sources/decoder.py", "Sharding.index_of", "raw = _checked(raw)", "raw = raw[:-4]"),
        ("S2", _READER, "_raw_part", "value.size != decoder.n_bytes", "False"),
        ("S3", "sources/decoder.py", "_checked", "crc32c(body) != int.from_bytes(end, 'little')", "False"),
        ("S4", _READER, "ChunkReader.read", "raise read_error(chunks.name, key, error) from error", ""),
        ("S5", "sources/chunk_bytes.py", "MappingByteStore.get", "name in self.mapping", "False"),
        ("S6", "engine/wait.py", "_result", "asyncio.timeout(engine.timeout_s)", "asyncio.timeout(None)"),
        ("S7", "server/dataset.py", "ServedDataset.current", "self.revalidate is not None", "False"),
        ("S8", _CACHE, f"{_FLIGHT}.put", "generation == self._generation", "True"),
        ("S9", "sources/array_metadata.py", "ArrayMetadata._compare", "version == self.version", "version is None"),
        ("S10", "sources/opener.py", "check_array", "0 in array.shape", "False"),
        ("S11", "reducers/kernels.py", "fold_int", "(2 * r == n) & (q & 1 == 1)", "2 * r == n"),
        ("S11", "reducers/kernels.py", "valid", "(not has) | (v != nodata)", "True"),
        # Cache and concurrency
        ("C1", _CACHE, f"{_FLIGHT}._submit", "self._computations.get(key)", "None"),
        ("C2", _CACHE, f"{_FLIGHT}._run", "self._finish(computation)", ""),
        ("C3", _CACHE, f"{_FLIGHT}._keep", "contextlib.suppress(ValueError)", "contextlib.nullcontext()"),
        ("C4", _CACHE, f"{_FLIGHT}._finish", "computation.generation == self._generation", "True"),
        ("C5", _COMPUTATION, "Computation.__init__", "self.future.set_running_or_notify_cancel()", ""),
        ("C5", _CACHE, f"{_FLIGHT}._start", "computation.waiting == 0", "False"),
        ("C6", _CACHE, f"{_FLIGHT}.waiting", "reaches(computation, caller)", "False"),
        ("C7", _CACHE, f"{_FLIGHT}.waiting", "mark_urgent(computation)", ""),
        ("C7", _COMPUTATION, "mark_urgent", "stack.extend(computation.waits_for)", ""),
        ("C7", _CACHE, f"{_FLIGHT}._get", "computation.urgent = computation.urgent or caller.urgent", ""),
        ("C7", "engine/limiter.py", "MemoryLimiter._wait", "not urgent()", "True"),
        ("C8", _CACHE, f"{_FLIGHT}.clear", "self._values.clear()", ""),
        ("C9", _ENGINE, "Engine.__init__", "whole_number(cache_bytes, 'cache_bytes', 0)", "whole_number(cache_bytes, 'cache_bytes', -9)"),
        ("C10", "engine/chunks.py", "full_size", "chunk.flags.writeable = False", ""),
        ("C11", "store/overlay/disk_cache.py", "DiskCache.get", "raw[:_HEAD_BYTES] == _head(body)", "True"),
        ("C11", "store/overlay/overlay.py", "OverlayChunks.__init__", "self._cache.count()", ""),
        ("C12", "engine/wait.py", "_result", "asyncio.wrap_future(computation.future)",
         "asyncio.wrap_future(computation.future, loop=globals().setdefault('_loop', asyncio.get_running_loop()))"),
        # Memory
        ("M1", "engine/limiter.py", "MemoryLimiter._fits", "self._used + ticket.n_bytes <= ticket.most", "True"),
        ("M2", "pyramids/execute.py", "ReadPass._boxes", "box > self.context.task_bytes * 4 * self.context.workers", "False"),
        ("M3", _ENGINE, "Engine._admitted", "self._limiter.release(need, slow=slow)", ""),
        ("M4", "server/responses.py", "SendLimiter._fits", "used + n_bytes <= self.max_bytes", "True"),
        # Keys
        ("K1", _KEYS, "_index", "number >= count", "False"),
        ("K2", _KEYS, "_index", "part[0] == '0' and part != '0'", "False"),
        ("K3", _APP, "_decoded", "_NEEDLESS_ESCAPE.search(raw_path)", "None"),
        ("K4", _KEYS, "Keys._chunks_of", "map(range, self._counts[path])", "map(range, [n + 1 for n in self._counts[path]])"),
        ("K5", _KEYS, "Keys.__contains__", "key in self.documents",
         "key.rpartition('/')[2] in ('zarr.json', '.zarray', '.zgroup', '.zattrs')"),
        ("K6", _APP, "_decoded", "UnicodeDecodeError", "ZeroDivisionError"),
        # HTTP
        ("H1", _RANGES, "parse_range", "min(int(suffix), size)", "int(suffix)"),
        ("H2", _RANGES, "parse_range", "start >= size", "start > size"),
        ("H3", _RANGES, "parse_range", "int(last) < start", "False"),
        ("H4", "server/routes_zarr.py", "serve_key", "scope['method'] == 'HEAD'", "False"),
        ("H5", _APP, "App._answer", "method not in ('GET', 'HEAD')", "False"),
        ("H6", _APP, "App._with_middleware", "_EXPOSED_HEADERS", "()"),
        ("H7", _APP, "App._with_middleware",
         "TrustedHostMiddleware(app, allowed_hosts=list(self.hosts), www_redirect=False)", "app"),
        ("H8", _RANGES, "etag_matches", "etag in _TAG.findall(header)", "False"),
        ("H9", "server/limits.py", "TimeoutH11Protocol._expect_request",
         "self.loop.call_later(RECEIVE_SECONDS, self.transport.abort)", "None"),
        ("H10", _APP, "App.__call__", "{name for name, _ in scope['headers']} >= _TWO_LENGTHS", "False"),
        ("H11", "server/responses.py", "error_response", "f'{name}: {key}\\n'", "f'{name}: {key}: {error}\\n'"),
        ("H12", "server/routes_zarr.py", "serve_key", "snapshot, body = await read()",
         "await send({'type': 'http.response.start', 'status': 200, 'headers': []})\nsnapshot, body = await read()"),
        ("H13", "server/run.py", "Handle.close", "self._thread.is_alive()", "False"),
        ("H14", _APP, "App._route", "first in self._pages", "True"),
        ("H15", "server/routes_zarr.py", "serve_key", "reply(scope, send, 404)", "reply(scope, send, 500)"),
        ("H16", "server/run.py", "hosts_of", "not allow_host", "False"),
        ("H17", "server/routes_viewer.py", "ViewerRoutes._static", "{**_OURS, **_BOKEH}.get(rest)",
         "{**_OURS, **_BOKEH}.get(rest, 'text/plain')"),
        # Materialize
        ("W1", _RUN, "_write_stages", "commit(job, number)", "commit(job, len(job.stages) - 1)"),
        ("W1", "writing/commit.py", "_order", "not key.endswith('.zmetadata')", "key.endswith('.zmetadata')"),
        ("W2", "writing/checkpoint.py", "Checkpoint.is_done", "region in self._done.get(stage, ())", "False"),
        ("W3", "writing/checkpoint.py", "Checkpoint.open", "differences(recorded, about)", "''"),
        ("W4", "writing/job.py", "put", "raise destination_error(kvstore, task, error) from error", ""),
        ("W5", _RUN, "_regions", "raise _failure(job, stage, failed, count)", ""),
        ("W6", _LOCAL, "_locked", "raise TimeoutError(f'{path} has been locked by another process for {patience_s:g} s') from None",
         "return True"),
        ("W7", "writing/executors.py", "ThreadExecutor.run", "stop.set()", ""),
        ("W8", "writing/region.py", "_Work._write",
         "put(job.kvstore, job.keys.format(path, index), data, level=level, window=window)",
         "if any(bytes(data)):\n    put(job.kvstore, job.keys.format(path, index), data, level=level, window=window)"),
        ("W9", "writing/commit.py", "check_apart", "job.kvstore.overlaps(source)", "False"),
        ("W10", "writing/executors.py", "FuturesExecutor.run", "f'{name}-{region}'", "name"),
        ("W11", _LOCAL, "LocalKVStore.put_atomic", "os.fsync(fd)", ""),
        # Process
        ("P1", "_util/forksafe.py", "_remake", "list(_makers)", "[]"),
        ("P2", _ENGINE, "Engine.__getstate__", "self._settings()", "self.__dict__"),
        ("P3", "sources/zarr.py", "ZarrSource.__setstate__", "self._setup(version)", ""),
        ("P4", "engine/pools.py", "_PoolState.start_threads",
         "threading.Thread(target=_serve, args=(self,), name=name, daemon=True)",
         "threading.Thread(target=_serve, args=(self,), name=name, daemon=False)"),
        ("P5", "reducers/jit.py", "Kernel._make", "RuntimeError", "ZeroDivisionError"),
        # User functions and transforms
        ("U1", "products/user.py", "Function._guarded", "BaseException", "Exception"),
        ("U2", "products/user.py", "Function._checked", "np.can_cast(got.dtype, self.dtype, 'safe')", "True"),
        ("U3", "reducers/custom.py", "run", "boxes.flags.writeable = False", ""),
        ("U4", _APP, "App._ready", "stuck.append(name)", ""),
        ("U5", "products/user.py", "Function._called", "_turn_of(self.func)", "threading.Lock()"),
        ("U6", "products/embeddings.py", "_components", "len(pixels) < 2", "False"),
        ("U7", "reducers/kernels_2x2.py", "row_complex", "re, im = re / n, im / n",
         ("turn = (np.arctan2(im0, re0) + np.arctan2(im1, re1) + np.arctan2(im2, re2) + np.arctan2(im3, re3)) / n\n"
         "re, im = np.cos(turn), np.sin(turn)")),
        # Plot and command line
        ("X1", "plot/viewport.py", "Viewport._read", "stale()", "False"),
        ("X2", "cli/__init__.py", "main", "_complain('interrupted', 130)", "_complain('interrupted', 1)"),
        ("X2", "server/workers.py", "_interrupts_held", "{signal.SIGINT}", "set()"),
        # Found later
        ("N1", "sources/chunk_bytes.py", "LocalByteStore.stamps", "yield None", ""),
        ("N1", "sources/chunk_bytes.py", "_folders", "[folder for parent in folders for folder in _folders_in(parent)]",
         "[folder for parent in folders for folder in _folders_in(parent)][:40]"),
        ("N2", "sources/chunk_bytes.py", "LocalByteStore.content_stamp", "(stat.st_mtime_ns, stat.st_ctime_ns)", "(0, 0)"),
        ("N2", "sources/chunk_bytes.py", "LocalByteStore.content_stamp", "stat.st_ctime_ns", "0"),
        ("N3", _RUN, "_write_stages", "watch.check(sources)", ""),
        ("N4", "sources/array_metadata.py", "_differences", "{'attributes', 'dimension_names', 'consolidated_metadata'}",
         "{'attributes', 'dimension_names', 'consolidated_metadata', 'codecs', 'filters'}"),
        ("N5", "store/store.py", "LazyPyramidStore.refresh", "self._version = uuid.uuid4().hex", ""),
        ("N5", "server/dataset.py", "Snapshot.fingerprint", "store.version", "''"),
        ("N6", "server/routes_zarr.py", "_with_question_mark", "spelling in keys", "False"),
        ("N7", "_names.py", "without_secrets", "_plain(url[0])", "url[0]"),
        ("N7", "server/responses.py", "error_response", "without_paths(str(error))", "str(error)"),
        ("N7", "errors.py", "LazypyrError.__init__", "forget_secrets(sys.exception())", ""),
        ("N7", "sources/hdf5.py", "Hdf5Tree.read", 'check_own(dataset, f"{public_name(self.path)}/{path}")', ""),
        ("N7", "sources/tiff.py", "TiffImage.open_content", "_check_beside(file, remote=self.is_remote)", ""),
        ("N8", "sources/codecs.py", "check_codec", "codec not in DECODING_CODECS", "False"),
        ("N8", "sources/codec_guard.py", "_GuardedEntryPoint.load", "check_codec(self._entry.name, *reading)", ""),
        ("N9", "sources/codecs.py", "decode_at_most", "declared > n_bytes", "False"),
        ("N9", "sources/codecs.py", "_streamed", "n_bytes + 1 - got", "0"),
        ("N9", "sources/hdf5.py", "Hdf5Tree.chunk", "array.chunks is not None", "False"),
        ("N9", "sources/bounded.py", "_bounded", "_BoundedBytes(codec, made, isinstance(serializer, BytesCodec), least)", "codec"),
        ("N9", "sources/bounded.py", "_bounded", "_BoundedNumbers(codec, made)", "codec"),
        ("N10", "pyramids/execute.py", "ReadPass._run", "at_once >= context.workers", "True"),
        ("N10", "engine/chunks.py", "warn_of_large_chunks", "warned.add(source.name)", ""),
        ("N11", "display.py", "sampled_plane", "_runs(numbers, pyramid.chunks[pyramid.axes.index(axis)])",
         "_runs(numbers, 2 ** 40)"),
        ("N12", _CACHE, "CacheStorage.__init__", "sizeof(value) + entry_bytes", "sizeof(value)"),
        ("N13", "engine/lanes.py", "choose_lane", "raise Deferred", ""),
        ("N13", "engine/lanes.py", "_drawn", "computation.is_abandoned()", "False"),
        ("N13", "engine/wait.py", "wait_async", "Abandoned", "ZeroDivisionError"),
        ("N13", "engine/limiter.py", "MemoryLimiter._has_share", "not ticket.slow", "True"),
        ("N15", "server/limits.py", "TimeoutH11Protocol.connection_made", "next(iter(self._idle), None)",
         "min((c for c in self.connections if c in self._idle), key=list(self._idle).index, default=None)"),
        ("N15", "server/limits.py", "TimeoutH11Protocol._note_idleness", "self._idle.pop(self, None)", ""),
        ("N20", "server/forwarded.py", "as_asked", "not _is_trusted(scope, networks)", "False"),
        ("N14", _APP, "App._ready", "engine.calls_done == done", "True"),
        ("N16", _LOCAL, "LocalKVStore._check_held", "inode != self._held", "False"),
        ("N16", _RUN, "_write_stages", "check_whole(job, number)", ""),
        ("N17", _LOCAL, "LocalKVStore.put_atomic", "os.replace(partial, path)", "os.link(partial, path)"),
        ("N18", _LOCK, "WriterLock._wait_for_lapse", "owner.get('nonce') not in _held", "False"),
        ("N19", _LOCK, "WriterLock._owner", "time.sleep(_LOOK_S)", "return {}"),
        ("N19", _LOCAL, "_locked", "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)", ""),
        ("N21", "engine/pools.py", "_PoolState.start_threads", "self.size + min(self.waiting, self.more)", "self.size"),
        ("N21", "sources/far/requests.py", "Requests._hedged", "self._may_hedge()", "False"),
        ("N22", "sources/far/requests.py", "Requests.get", "attempt >= limits.tries", "True"),
        ("N22", "sources/far/clients.py", "pause_after", "_retry_after(error)", "0.0"),
        ("N23", "sources/far/chunks.py", "_wait", "computation.is_abandoned()", "False"),
        ("N23", _CACHE, f"{_FLIGHT}.leave", "computation.release()", ""),
        ("N24", "sources/far/chunks.py", "ChunkFetcher._seen", "before != got.tag", "False"),
        ("N25", "sources/chunk_bytes.py", "ZipByteStore._reopen", "self._process != os.getpid()", "False"),
        ("N26", "_util/tokenize.py", "_Walk.hexdigest", "self._digest.hexdigest()",
         "hashlib.sha256(self._digest.digest() + np.__version__.encode()).hexdigest()"),
        ("N27", "sources/opener.py", "check_array", "dtype.isbuiltin == 2", "False"),
        ("N27", "sources/decoder.py", "_decoder_v3", "(setup['index_codecs'][0].get('configuration') or {}).get('endian') == 'big'", "False"),
    )
)  # fmt: skip
