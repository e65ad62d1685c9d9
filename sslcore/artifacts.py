"""Where artefacts live, and how each comes to be written exactly once.

    store/<kind>/<key>/manifest.json and the files it lists

The *key* is a hash of what was asked (kind, step version, spec, digests of the inputs) and is known before the work;
the *digest* is a hash of what came out. A step that depends on an artefact names its digest, so two ways to the same bytes
share everything to their right. Writing happens in `.building-<key>` under a lock; the manifest is written last, then
the folder is renamed: a killed job leaves a building folder, never half an artefact.

This is the only module that names or places files of the store.
"""

import contextlib
import datetime
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from filelock import Timeout as LockTimeout
from pydantic import BaseModel, ConfigDict

from sslcore import contracts
from sslcore.errors import StoreError, UserError

MANIFEST = "manifest.json"
KEY_LENGTH = 20  # hex digits: 80 bits, no collision in any store a disk can hold


class Ref(BaseModel):
    """What crosses a task boundary: which artefact, and which bytes of it."""

    model_config = ConfigDict(frozen=True)

    kind: str
    key: str
    digest: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


class FileEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """Everything that can be said about an artefact without opening its files."""

    model_config = ConfigDict(frozen=True)

    kind: str
    key: str
    digest: str
    version: int
    spec: dict[str, Any]
    inputs: dict[str, Ref]
    files: dict[str, FileEntry]
    summary: dict[str, Any]  # what the step wants to say of its result: counts, scores
    created: str  # UTC, ISO 8601
    seconds: float  # wall time of the build

    @property
    def ref(self) -> Ref:
        return Ref(kind=self.kind, key=self.key, digest=self.digest)


class Ensured(NamedTuple):
    """An artefact that now exists, and whether it was there before."""

    ref: Ref
    reused: bool


class Problem(NamedTuple):
    """One thing `verify` found wrong."""

    ref: Ref
    file: str
    what: str


Build = Callable[[Path], Mapping[str, Any] | None]
"""Writes an artefact's files into the empty folder it is given; returns the manifest's summary."""


def artifact_key(kind: str, version: int, spec: Mapping[str, Any], inputs: Mapping[str, Ref]) -> str:
    """The name of what is asked for. Field order does not matter, and neither do the *keys* of the inputs."""
    asked = {"kind": kind, "version": version, "spec": spec, "inputs": {r: i.digest for r, i in inputs.items()}}
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def hash_files(paths: Mapping[str, Path]) -> dict[str, FileEntry]:
    """Size and SHA-256 of each file, by the name given to it, read by as many threads as there are cores."""

    def entry(path: Path) -> FileEntry:
        with path.open("rb") as file:
            return FileEntry(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(entry, paths.values()), strict=True))


def digest_of(files: Mapping[str, FileEntry]) -> str:
    """One hash over names and contents, whatever the order."""
    lines = "".join(f"{files[name].sha256}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def raw_input(files: Mapping[str, FileEntry]) -> Ref:
    """Files that lie outside the store, as the input of the first step: nothing made them, so the key is the digest."""
    digest = digest_of(files)
    return Ref(kind="raw", key=digest[:KEY_LENGTH], digest=digest)


class ArtifactStore:
    """A folder of artefacts. Cheap to open; writes nothing until something is built."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    # -- building ------------------------------------------------------------------------------------------------

    def ensure(
        self,
        kind: str,
        version: int,
        spec: Mapping[str, Any],
        inputs: Mapping[str, Ref],
        build: Build,
        *,
        waiting: Callable[[], None] = lambda: None,
    ) -> Ensured:
        """Return the artefact for this request, building it first if no intact one is there.

        `waiting` is called once if another process is building the same key and we have to wait for it.
        Raises StoreError when the store cannot be written or the disk is full; nothing half-written remains.
        """
        key = artifact_key(kind, version, spec, inputs)
        if ref := self._reuse(kind, key):
            return Ensured(ref, True)
        with self._writing(kind, key, waiting) as building:
            if ref := self._reuse(kind, key):  # the process we waited for has built it
                return Ensured(ref, True)
            started = time.perf_counter()
            summary = dict(build(building) or {})
            contracts.check_folder(kind, building)
            files = hash_files({p.relative_to(building).as_posix(): p for p in _files_under(building)})
            manifest = Manifest(
                kind=kind,
                key=key,
                digest=digest_of(files),
                version=version,
                spec=dict(spec),
                inputs=dict(inputs),
                files=files,
                summary=summary,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                seconds=round(time.perf_counter() - started, 3),
            )
            _write_durably(building / MANIFEST, manifest.model_dump_json(indent=1))
            building.rename(self._folder(kind, key))
            _sync_folder(self.root / kind)
            return Ensured(manifest.ref, False)

    def _reuse(self, kind: str, key: str) -> Ref | None:
        """The artefact if it is whole as far as names and sizes tell; sets one that is not aside for rebuilding."""
        folder = self._folder(kind, key)
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        intact = all(
            (folder / name).is_file() and (folder / name).stat().st_size == entry.bytes
            for name, entry in manifest.files.items()
        )
        if not intact:
            return None
        with contextlib.suppress(OSError):  # a read-only store can still be used
            os.utime(folder / MANIFEST)  # last use, for gc
        return manifest.ref

    @contextlib.contextmanager
    def _writing(self, kind: str, key: str, waiting: Callable[[], None]) -> Iterator[Path]:
        """Hold the key's lock around an empty building folder; turn the disk's errors into sentences."""
        building = self.root / kind / f".building-{key}"
        try:
            building.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / kind / f".lock-{key}")
            try:
                lock.acquire(timeout=0)
            except LockTimeout:
                waiting()
                lock.acquire()
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            shutil.rmtree(building, ignore_errors=True)  # what a killed attempt left
            shutil.rmtree(building.with_name(f".damaged-{key}"), ignore_errors=True)
            if not self._reuse(kind, key) and self._folder(kind, key).exists():
                self._folder(kind, key).rename(building.with_name(f".damaged-{key}"))
                shutil.rmtree(building.with_name(f".damaged-{key}"))
            building.mkdir()
            yield building
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM) and (
                error.filename is None or str(error.filename).startswith(str(self.root))
            ):
                raise self._cannot_write(error) from error
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
            lock.release()

    def _cannot_write(self, error: OSError) -> StoreError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StoreError(
                f"no space left for the store {self.root}: free some (`sslcore store gc` removes what is no longer "
                "used) or choose another place with --store. Nothing half-written remains; what was finished is kept."
            )
        reason = error.strerror or str(error)
        return StoreError(
            f"cannot write the store {self.root}: {reason}. Choose a folder you may write with --store FOLDER."
        )

    # -- reading -------------------------------------------------------------------------------------------------

    def path(self, ref: Ref) -> Path:
        """The folder of an artefact. Raises StoreError if it is not here."""
        folder = self._folder(ref.kind, ref.key)
        if not (folder / MANIFEST).is_file():
            raise StoreError(f"the store {self.root} has no {ref}; run the step that makes it again")
        return folder

    def manifest(self, ref: Ref) -> Manifest:
        return Manifest.model_validate_json((self.path(ref) / MANIFEST).read_bytes())

    def manifests(self) -> list[Manifest]:
        """Every artefact, oldest first."""
        found = [Manifest.model_validate_json(p.read_bytes()) for p in self.root.glob(f"*/[!.]*/{MANIFEST}")]
        return sorted(found, key=lambda m: (m.created, m.kind, m.key))

    def resolve(self, name: str) -> Ref:
        """The artefact that a person means by `key`, `kind/key` or an unambiguous beginning of either.

        Raises UserError when nothing or more than one thing matches.
        """
        kind, _, key = name.strip("/").rpartition("/")
        matches = [
            manifest.ref
            for manifest in self.manifests()
            if manifest.key.startswith(key) and (not kind or manifest.kind == kind)
        ]
        if len(matches) == 1 and key:
            return matches[0]
        if matches and key:
            raise UserError(f"{name!r} begins {len(matches)} keys: {', '.join(map(str, matches))}; give more of it")
        raise UserError(f"the store {self.root} has no artefact {name!r}; `sslcore store list` shows what is there")

    def lineage(self, ref: Ref) -> list[Manifest]:
        """The artefact and everything it was made from, each once, nearest first."""
        ordered: dict[str, Manifest] = {}
        waiting = [ref]
        while waiting:
            current = waiting.pop(0)
            if current.kind == "raw" or str(current) in ordered:
                continue
            manifest = self.manifest(current)
            ordered[str(current)] = manifest
            waiting.extend(manifest.inputs.values())
        return list(ordered.values())

    # -- keeping -------------------------------------------------------------------------------------------------

    def verify(self) -> list[Problem]:
        """Read every byte again; report files that are missing, changed or not listed, and inputs that are gone."""
        problems = []
        manifests = self.manifests()
        present = {m.ref.digest for m in manifests}
        for manifest in manifests:
            folder = self._folder(manifest.kind, manifest.key)
            here = {p.relative_to(folder).as_posix(): p for p in _files_under(folder) if p.name != MANIFEST}
            listed = {name: path for name, path in here.items() if name in manifest.files}
            for name, entry in hash_files(listed).items():
                if entry != manifest.files[name]:
                    problems.append(Problem(manifest.ref, name, "its bytes are not those that were written"))
            problems += [Problem(manifest.ref, n, "is missing") for n in sorted(set(manifest.files) - set(here))]
            problems += [Problem(manifest.ref, n, "is not in the manifest") for n in sorted(set(here) - set(listed))]
            if digest_of(manifest.files) != manifest.digest:
                problems.append(Problem(manifest.ref, MANIFEST, "its digest does not match its list of files"))
            if artifact_key(manifest.kind, manifest.version, manifest.spec, manifest.inputs) != manifest.key:
                problems.append(Problem(manifest.ref, MANIFEST, "its key does not match its spec and inputs"))
            for role, source in manifest.inputs.items():
                if source.kind != "raw" and source.digest not in present:
                    problems.append(Problem(manifest.ref, MANIFEST, f"its input {role} ({source}) is not in the store"))
        return problems

    def gc(self, *, unused_days: float, keep: frozenset[Ref] = frozenset(), dry_run: bool = False) -> list[str]:
        """Remove building folders nobody holds, and artefacts unused for that long that nothing newer or kept needs.

        Returns the folders removed (or, with `dry_run`, those that would be), relative to the store.
        """
        manifests = {str(m.ref): m for m in self.manifests()}
        horizon = time.time() - unused_days * 86_400
        roots = [
            m.ref
            for m in manifests.values()
            if (self.path(m.ref) / MANIFEST).stat().st_mtime >= horizon or m.ref in keep
        ]
        needed = {str(m.ref) for root in roots for m in self.lineage(root)}
        unused = [f"{m.kind}/{m.key}" for name, m in manifests.items() if name not in needed]
        abandoned = [p.relative_to(self.root).as_posix() for p in self.root.glob("*/.[bd]*-*") if self._is_free(p)]
        if not dry_run:
            for name in unused + abandoned:
                shutil.rmtree(self.root / name)
        return sorted(unused + abandoned)

    def _is_free(self, leftover: Path) -> bool:
        lock = FileLock(leftover.with_name(f".lock-{leftover.name.rpartition('-')[2]}"))
        try:
            lock.acquire(timeout=0)
        except LockTimeout:
            return False
        lock.release()
        return True

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key


def _files_under(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
