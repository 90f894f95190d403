# What a library of Python's is told by a server: client.py LIBRARY PERMITTED REFUSED
import sys

library, *urls = sys.argv[1:]

if library == "grpc":
    import grpc

    with grpc.secure_channel(urls[0], grpc.ssl_channel_credentials()) as channel:
        print(channel.unary_unary("/demo.Echo/Say")(b"one", timeout=10))
        print([*channel.stream_stream("/demo.Echo/Talk")(iter([b"two", b"three"]), timeout=10)])
        try:
            channel.unary_unary("/demo.Echo/Refused")(b"", timeout=10)
        except grpc.RpcError as error:
            print(error.code(), error.details())
    sys.exit()

if library == "websockets":
    import asyncio

    import websockets

    async def talk(url):
        try:
            async with websockets.connect(url) as socket:
                await socket.send("hello")
                print(await socket.recv())
        except websockets.InvalidStatusCode as error:
            print(error)

    for url in urls:
        asyncio.run(talk(url))
    sys.exit()

for url in urls:
    if library == "urllib":
        import urllib.error
        import urllib.request

        try:
            print(urllib.request.urlopen(url).read().decode())
        except urllib.error.HTTPError as error:
            print(error.code, error.read().decode())
    elif library == "requests":
        import requests

        answer = requests.get(url)
        print(answer.status_code, answer.text)
    elif library == "httpx":
        import httpx

        with httpx.Client(http2=True) as client:
            answer = client.get(url)
        print(answer.http_version, answer.status_code, answer.text)
