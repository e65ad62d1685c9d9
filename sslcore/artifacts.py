"""Where artefacts live, and how each comes to be written exactly once.

    store/<kind>/<key>/manifest.json and the files it lists

The *key* is a hash of what was asked (kind, step version, spec, digests of the inputs) and is known before the work;
the *digest* is a hash of what came out. A step that depends on an artefact names its digest, so two ways to the same
bytes share everything to their right. Writing happens in `.building-<key>` under a lock; the manifest is written last,
then the folder is renamed: a killed job leaves a building folder, never half an artefact. A step may keep a checkpoint
there, from which the next attempt goes on.

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
from sslcore.disk import REFUSED, empty_folder, files_under, is_full, sync_folder, write_durably
from sslcore.errors import StoreError, UserError

MANIFEST = "manifest.json"
CHECKPOINT = "checkpoint"
"""Folder within a building artefact where a step keeps what a second attempt goes on from; it outlives a failed one."""
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
    """One thing `verify` found wrong. The digest of `ref` is empty when the manifest cannot be read."""

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
            files = hash_files(files_under(building))
            assert MANIFEST not in files, f"the step that makes {kind} wrote a {MANIFEST}; that name is the store's"
            manifest = Manifest(
                kind=kind,
                key=key,
                digest=digest_of(files),
                version=version,
                spec=dict(spec),
                inputs=dict(inputs),
                files=files,
                summary=summary,
                created=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
                seconds=round(time.perf_counter() - started, 3),
            )
            write_durably(building / MANIFEST, manifest.model_dump_json(indent=1))
            building.rename(self._folder(kind, key))
            sync_folder(self.root / kind)
            return Ensured(manifest.ref, False)

    def _reuse(self, kind: str, key: str) -> Ref | None:
        """The artefact if it is whole as far as names and sizes tell, marked as used now; else None."""
        folder = self._folder(kind, key)
        try:
            manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
            sizes = {name: path.stat().st_size for name, path in files_under(folder).items()}
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: the manifest is damaged
            return None
        except OSError as error:
            raise self._cannot_use(error) from error
        if any(sizes.get(name) != entry.bytes for name, entry in manifest.files.items()):
            return None
        self._mark_used(folder)
        return manifest.ref

    @contextlib.contextmanager
    def _writing(self, kind: str, key: str, waiting: Callable[[], None]) -> Iterator[Path]:
        """Hold the key's lock around an empty building folder; turn the disk's errors into sentences."""
        building = self.root / kind / f".building-{key}"
        try:
            building.parent.mkdir(parents=True, exist_ok=True)
            lock = self._lock(kind, key)
            try:
                lock.acquire(timeout=0)
            except LockTimeout:
                waiting()
                lock.acquire()
        except OSError as error:
            raise self._cannot_use(error) from error
        try:
            empty_folder(building, but=CHECKPOINT)  # what a killed attempt left
            if not self._reuse(kind, key):
                self._discard(kind, key)
                building.mkdir(exist_ok=True)
            yield building
        except UserError:
            raise
        except Exception as error:
            if is_full(error, self.root) or (isinstance(error, OSError) and self._is_refused(error)):
                raise self._cannot_use(error) from error
            raise
        finally:
            empty_folder(building, but=CHECKPOINT)
            lock.release()

    def _discard(self, kind: str, key: str) -> None:
        """Take an artefact away, its name first, so that nobody ever sees half of it. Its lock must be held."""
        discarded = self.root / kind / f".discarded-{key}"
        shutil.rmtree(discarded, ignore_errors=True)  # left by a process killed right here
        if self._folder(kind, key).exists():
            self._folder(kind, key).rename(discarded)
            shutil.rmtree(discarded)

    def _is_refused(self, error: OSError) -> bool:
        if error.errno == errno.EFBIG:  # a limit on the size of one file: of the file system, or `ulimit -f`
            return True
        return error.errno in REFUSED and error.filename is not None and Path(error.filename).is_relative_to(self.root)

    def _cannot_use(self, error: Exception) -> StoreError:
        if is_full(error, self.root):
            return StoreError(
                f"no space left for the store {self.root}: free some (`sslcore store gc` removes what is no longer "
                "used) or choose another place with --store. Nothing half-written remains; what was finished is kept."
            )
        reason = getattr(error, "strerror", None) or str(error)
        return StoreError(
            f"cannot use the store {self.root}: {reason}. Choose a folder you may read and write with --store FOLDER."
        )

    # -- reading -------------------------------------------------------------------------------------------------

    def path(self, ref: Ref) -> Path:
        """The folder of an artefact, marked as used now. Raises StoreError if these bytes are not here."""
        self.manifest(ref)
        folder = self._folder(ref.kind, ref.key)
        self._mark_used(folder)
        return folder

    def manifest(self, ref: Ref) -> Manifest:
        """What is known of an artefact. Raises StoreError if it is not here, damaged, or now holds other bytes."""
        try:
            manifest = Manifest.model_validate_json((self._folder(ref.kind, ref.key) / MANIFEST).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(f"the store {self.root} has no {ref}; run the step that makes it again") from None
        except ValueError as error:
            raise StoreError(
                f"the manifest of {ref} in {self.root} is damaged; run the step that makes it again"
            ) from error
        if manifest.digest != ref.digest:
            raise StoreError(
                f"{ref} in {self.root} was built again and is no longer {ref.digest[:12]} but {manifest.digest[:12]}; "
                "run the steps that use it again"
            )
        return manifest

    def manifests(self) -> list[Manifest]:
        """Every artefact whose manifest can be read, oldest first; `verify` reports the others."""
        found = []
        for path in self._folders():
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.append(Manifest.model_validate_json((path / MANIFEST).read_bytes()))
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
        """The artefact and everything it was made from, each once, nearest first.

        Raises StoreError when a link of the chain is gone from the store.
        """
        ordered: dict[Ref, Manifest] = {}
        waiting = [ref]
        while waiting:
            current = waiting.pop(0)
            if current.kind != "raw" and current not in ordered:
                ordered[current] = self._holding(current)
                waiting.extend(ordered[current].inputs.values())
        return list(ordered.values())

    def _holding(self, ref: Ref) -> Manifest:
        """The artefact, or another with the same bytes: whatever was made from the one was made from the other."""
        try:
            return self.manifest(ref)
        except StoreError:
            for other in self.manifests():
                if (other.kind, other.digest) == (ref.kind, ref.digest):
                    return other
            raise

    # -- keeping -------------------------------------------------------------------------------------------------

    def verify(self) -> list[Problem]:
        """Read every byte again; report what is missing, changed or not listed, and inputs that are gone."""
        manifests = self.manifests()
        readable = {(m.kind, m.key) for m in manifests}
        problems = [
            Problem(Ref(kind=path.parent.name, key=path.name, digest=""), MANIFEST, "is missing or damaged")
            for path in self._folders()
            if (path.parent.name, path.name) not in readable
        ]
        present = {m.digest for m in manifests}
        for manifest in manifests:
            said = [*self._verify_files(manifest), *_verify_names(manifest, present)]
            problems += [Problem(manifest.ref, file, what) for file, what in said]
        return problems

    def _verify_files(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        here = files_under(self._folder(manifest.kind, manifest.key))
        for name in sorted(here.keys() | manifest.files.keys() - {MANIFEST}):
            if name not in here:
                yield name, "is missing"
            elif name in manifest.files:
                try:
                    if hash_files({name: here[name]})[name] != manifest.files[name]:
                        yield name, "its bytes are not those that were written"
                except OSError as error:
                    yield name, f"cannot be read: {error.strerror}"
            elif name != MANIFEST:
                yield name, "is not in the manifest"

    def gc(self, *, unused_days: float, keep: frozenset[Ref] = frozenset(), dry_run: bool = False) -> list[str]:
        """Remove building folders nobody holds, and artefacts unused for that long that nothing newer or kept needs.

        Returns the folders removed (or, with `dry_run`, those that would be), relative to the store. What another
        process is building is left alone.
        """
        manifests = {m.ref: m for m in self.manifests()}
        horizon = time.time() - unused_days * 86_400
        waiting = [ref for ref in manifests if ref in keep or self._last_use(ref) >= horizon]
        needed: set[Ref] = set()
        while waiting:
            if (ref := waiting.pop()) in manifests and ref not in needed:
                needed.add(ref)
                waiting.extend(manifests[ref].inputs.values())
        artifacts = [(ref.kind, ref.key, str(ref)) for ref in manifests if ref not in needed]
        leftovers = [
            (path.parent.name, path.name.rpartition("-")[2], f"{path.parent.name}/{path.name}")
            for pattern in (".building-*", ".discarded-*")
            for path in self.root.glob(f"[!.]*/{pattern}")
        ]
        removed = []
        for kind, key, name in artifacts + leftovers:
            try:
                with self._lock(kind, key).acquire(timeout=0):
                    removed.append(name)
                    if dry_run:
                        continue
                    if name.endswith(f"/{key}"):
                        self._discard(kind, key)
                    else:
                        shutil.rmtree(self.root / name, ignore_errors=True)
            except LockTimeout:
                continue  # being built right now
            except OSError as error:
                raise self._cannot_use(error) from error
        return sorted(removed)

    # -- places --------------------------------------------------------------------------------------------------

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key

    def _folders(self) -> list[Path]:
        return sorted(path for path in self.root.glob("[!.]*/[!.]*") if path.is_dir())

    def _lock(self, kind: str, key: str) -> FileLock:
        return FileLock(self.root / kind / f".lock-{key}")

    def _last_use(self, ref: Ref) -> float:
        return (self._folder(ref.kind, ref.key) / MANIFEST).stat().st_mtime

    def _mark_used(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # a read-only store can still be used
            os.utime(folder / MANIFEST)


def _verify_names(manifest: Manifest, present: set[str]) -> Iterator[tuple[str, str]]:
    """What the manifest says against itself and against the artefacts that are there."""
    if digest_of(manifest.files) != manifest.digest:
        yield MANIFEST, "its digest does not match its list of files"
    if artifact_key(manifest.kind, manifest.version, manifest.spec, manifest.inputs) != manifest.key:
        yield MANIFEST, "its key does not match its spec and inputs"
    for role, source in manifest.inputs.items():
        if source.kind != "raw" and source.digest not in present:
            yield MANIFEST, f"its input {role} ({source}, {source.digest[:12]}) is not in the store"
