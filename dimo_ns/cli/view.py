"""`dimo view`: a scene's motions in the browser."""

from dimo_ns.cli.commands import Scene, say


def view(scene: Scene, port: int = 7007, host: str = "127.0.0.1") -> None:
    """Look at a scene's motions in the browser, blend them, change them, make new ones; ends with Ctrl-C.

    Args:
        scene: A scene.safetensors, its folder, or the folder of a training run.
        port: Where to listen; if it is taken, the next one that is free.
        host: Who may look: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can reach it.
    """
    from dimo_ns.runs import open_space
    from dimo_ns.viewer.serve import SceneViewer, is_loopback

    viewer = SceneViewer(open_space(scene), port, host)
    try:
        if viewer.port != port:
            say(f"Port {port} is taken; this is {viewer.port}.")
        if not is_loopback(host):
            say(
                f"Open to everyone who can reach {host}: they can use all controls, and save files beside the scene. "
                "Leave --host out to keep it to this machine."
            )
        say(f"{viewer.address} shows {scene}; Ctrl-C ends it.")
        viewer.wait()
    finally:
        viewer.close()
