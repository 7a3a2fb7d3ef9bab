"""Calls every method of a real file server with a gRPC client that the project has nothing to do with.

    client.py PROTO_DIRECTORY METADATA_ADDRESS SECRET_FILE

It compiles the project's protobuf files with grpcio-tools, makes a file at the metadata server, and writes, reads and
manages its object at the file server, with checksums of its own making. Every answer is checked; the first wrong one
ends it. The last line says how many calls were made.
"""

import hashlib
import hmac
import importlib
import pathlib
import queue
import sys
import tempfile

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_tools import protoc

BLOCK = 4096
LIMIT = 60
OPTIONS = [("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", 8 << 20)]
calls = 0


def compiled(directory):
    """The generated modules of the protobuf files."""
    out = tempfile.mkdtemp(prefix="pfs-foreign-")
    files = [str(path.relative_to(directory)) for path in sorted(pathlib.Path(directory, "pfs/v1").glob("*.proto"))]
    arguments = ["protoc", f"-I{directory}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    assert protoc.main(arguments) == 0, "grpcio-tools compiles the protobuf files"
    sys.path.insert(0, out)
    names = ["common_pb2", "metadata_pb2", "metadata_pb2_grpc", "data_pb2", "data_pb2_grpc"]
    return [importlib.import_module(f"pfs.v1.{name}") for name in names]


def bearer(secret_file):
    """The proof that the caller knows the cluster's secret, as proto/src/secret.rs describes it."""
    secret = bytes.fromhex(pathlib.Path(secret_file).read_text().strip())
    proof = hmac.new(secret, b"pfs.v1 the caller knows the cluster secret", hashlib.sha256).hexdigest()
    return [("authorization", f"Bearer {proof}")]


def crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def checksums(extents, payload):
    """One for each piece: what the extents leave when they are cut at every multiple of a block."""
    sums, at = [], 0
    for extent in extents:
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            next_offset = min(offset - offset % BLOCK + BLOCK, end)
            sums.append(crc32c(payload[at : at + next_offset - offset]))
            at += next_offset - offset
            offset = next_offset
    assert at == len(payload)
    return sums


def call(method, request, metadata):
    global calls
    calls += 1
    return method(request, metadata=metadata, timeout=LIMIT)


def refused(method, request, metadata, code):
    """Makes a call that must fail with this gRPC status, and gives its text."""
    try:
        answer = call(method, request, metadata)
        if hasattr(answer, "__next__"):
            list(answer)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        return error.details()
    raise AssertionError(f"a call succeeded that must fail with {code}")


def reflected(channel, version, metadata):
    """The names of the services that a server shows."""
    global calls
    calls += 1
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    ask = channel.stream_stream(
        path,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = ask(iter([question]), metadata=metadata, timeout=LIMIT)
    return {service.name for service in answer.list_services_response.service}


def main(directory, metadata_address, secret_file):
    common, meta, meta_grpc, data, data_grpc = compiled(directory)
    proof = bearer(secret_file)
    assert crc32c(b"123456789") == 0xE3069283

    metadata_channel = grpc.insecure_channel(metadata_address, options=OPTIONS)
    metadata = meta_grpc.MetadataStub(metadata_channel)
    session = call(metadata.Initialize, meta.InitializeRequest(protocol_version=1, client_name="grpcio"), proof)
    operation = meta.OperationId(client_id=session.client_id, slot=0, sequence=1)
    create = meta.CreateFileRequest(operation=operation, path="/foreign", exclusive=True)
    create.layout.start_server = -1
    create.layout.stripe_count = 1
    file = call(metadata.CreateFile, create, proof).file
    [slot] = file.recipe.slots
    address = next(server.address for server in session.servers if server.server_id == slot.server_ids[0])

    channel = grpc.insecure_channel(address, options=OPTIONS)
    server = data_grpc.DataStub(channel)
    stamp = common.Stamp(boot=session.boot, incarnation=session.client_id)
    stamp.holder.client = session.client_id
    target = data.ObjectId(file_id=file.file_id, slot=0)
    sequence = iter(range(1, 1 << 20))

    def extent(offset, length):
        return data.ObjectExtent(offset=offset, length=length)

    def write(extents, payload, sums=()):
        return data.WriteRequest(
            stamp=stamp, sequence=next(sequence), object=target, extents=extents, checksums=sums, payload=payload
        )

    def read(extents):
        return data.ReadRequest(stamp=stamp, sequence=next(sequence), object=target, extents=extents)

    for who in (metadata_channel, channel):
        answer = call(health_pb2_grpc.HealthStub(who).Check, health_pb2.HealthCheckRequest(), None)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, "health needs no proof"
    refused(server.Ping, data.DataPingRequest(), None, grpc.StatusCode.UNAUTHENTICATED)
    ping = call(server.Ping, data.DataPingRequest(), proof)
    assert ping.server_id == slot.server_ids[0] and ping.cluster_id == session.cluster_id
    instance = ping.instance

    # Writes: with checksums, with wrong ones, and without any.
    extents = [extent(1000, 10_000), extent(1 << 20, BLOCK)]
    payload = bytes(i * 31 % 251 for i in range(10_000 + BLOCK))
    assert call(server.Write, write(extents, payload, checksums(extents, payload)), proof).instance == instance
    wrong = checksums(extents, payload)
    wrong[1] ^= 1
    text = refused(server.Write, write(extents, bytes(len(payload)), wrong), proof, grpc.StatusCode.UNAVAILABLE)
    assert "checksum" in text and str(file.file_id) in text, text
    call(server.Write, write([extent(500, 3)], b"abc"), proof)

    # The same bytes in sections of whole pieces, and one byte less than its section has pieces for.
    def in_sections(payload):
        sums, cut = checksums(extents, payload), BLOCK - 1000 + BLOCK
        request = write(extents, b"")
        request.sections.add(checksums=sums[:2], payload=payload[:cut])
        request.sections.add(checksums=sums[2:], payload=payload[cut:])
        return request

    call(server.Write, in_sections(bytes(len(payload))), proof)
    assert call(server.Read, read(extents), proof).payload == bytes(len(payload))
    call(server.Write, in_sections(payload), proof)
    short = in_sections(payload)
    short.sections[1].payload = short.sections[1].payload[1:]
    refused(server.Write, short, proof, grpc.StatusCode.INVALID_ARGUMENT)
    refused(server.Write, write(extents, payload[1:]), proof, grpc.StatusCode.INVALID_ARGUMENT)

    # Reads: in one reply and in many.
    reply = call(server.Read, read([extent(500, 3), *extents]), proof)
    assert reply.payload == b"abc" + payload and reply.instance == instance
    assert list(reply.checksums) == checksums([extent(500, 3), *extents], reply.payload)
    large = bytes(range(256)) * (3 * 4096 + 7)
    call(server.Write, write([extent(0, len(large))], large), proof)
    parts = list(call(server.ReadStream, read([extent(0, len(large))]), proof))
    assert len(parts) > 1 and b"".join(part.payload for part in parts) == large
    sums = [checksum for part in parts for checksum in part.checksums]
    assert sums[0] == crc32c(large[:BLOCK]) and len(sums) == -(-len(large) // BLOCK)

    # The stream of small requests: all are sent before the first answer is looked at.
    outgoing = queue.SimpleQueue()
    answers = call(server.Small, iter(outgoing.get, None), proof)
    for id in range(100):
        piece = [extent(id * BLOCK, BLOCK)]
        small = bytes([id]) * BLOCK
        outgoing.put(data.SmallRequest(id=id, write=write(piece, small, checksums(piece, small))))
    for answer in (next(answers) for _ in range(100)):
        assert answer.WhichOneof("outcome") == "write" and answer.write.instance == instance, answer
    for id in range(100):
        outgoing.put(data.SmallRequest(id=1000 + id, read=read([extent(id * BLOCK, BLOCK)])))
    outgoing.put(data.SmallRequest(id=5000))
    seen = {}
    for answer in (next(answers) for _ in range(101)):
        seen[answer.id] = answer
    assert seen.pop(5000).WhichOneof("outcome") == "error", "an error of its own"
    for id in range(100):
        assert seen[1000 + id].read.payload == bytes([id]) * BLOCK
        assert list(seen[1000 + id].read.checksums) == [crc32c(bytes([id]) * BLOCK)]
    outgoing.put(None)
    assert list(answers) == [], "the stream ends when its client ends it"

    # Space, length, durability.
    def allocate(kind, offset, length):
        return data.AllocateRequest(
            stamp=stamp, sequence=next(sequence), object=target, extent=extent(offset, length), allocation=kind
        )

    call(server.Allocate, allocate(data.ALLOCATION_RESERVE, 0, 8 << 20), proof)
    call(server.Allocate, allocate(data.ALLOCATION_PUNCH, BLOCK, BLOCK), proof)
    punched = call(server.Read, read([extent(0, 3 * BLOCK)]), proof).payload
    assert punched == bytes(2 * BLOCK) + bytes([2]) * BLOCK
    commit = call(server.Commit, data.CommitRequest(stamp=stamp, objects=[target]), proof)
    assert list(commit.object_lengths) == [len(large)] and commit.instance == instance
    call(server.Truncate, data.TruncateRequest(size_generation=2, object=target, object_length=5000), proof)
    stat = call(server.Stat, data.StatRequest(stamp=stamp, object=target), proof)
    assert stat.exists and stat.length == 5000 and stat.instance == instance

    # The ends: a drain, a fence, a removal.
    call(server.Drain, data.DrainRequest(stamp=stamp, sequence=next(sequence)), proof)
    late = write([extent(0, 1)], b"x")
    late.sequence = 1
    refused(server.Write, late, proof, grpc.StatusCode.ABORTED)
    fence = data.FenceRequest(boot_floor=session.boot, incarnations=[1 << 40], objects=[target])
    assert list(call(server.Fence, fence, proof).object_lengths) == [5000]
    stamp.incarnation = stamp.holder.client = 1 << 40
    refused(server.Read, read([extent(0, 1)]), proof, grpc.StatusCode.ABORTED)
    stamp.incarnation = stamp.holder.client = session.client_id
    assert call(server.Remove, data.RemoveRequest(file_ids=[file.file_id]), proof).removed_objects == 1
    refused(server.ReadStream, read([extent(0, 1)]), proof, grpc.StatusCode.NOT_FOUND)

    # Reflection, in both of its versions, whose messages are the same; it wants the proof.
    for version in ("v1", "v1alpha"):
        services = reflected(channel, version, proof)
        assert {"pfs.v1.Data", "pfs.v1.Metadata", "grpc.health.v1.Health"} <= services, services
        try:
            reflected(channel, version, None)
            raise AssertionError("reflection without the proof must be refused")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    call(metadata.ClientShutdown, meta.ClientShutdownRequest(client_id=session.client_id), proof)
    print(f"{calls} calls, all answered as they must be")


if __name__ == "__main__":
    main(*sys.argv[1:])
