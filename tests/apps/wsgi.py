"""A small Flask application for gunicorn: what a person's own backend looks like."""
from flask import Flask, Response, request

app = Flask(__name__)


@app.route("/hello")
def hello():
    return "hello\n"


@app.route("/echo", methods=["GET", "POST", "PUT"])
def echo():
    return {"method": request.method, "host": request.host, "args": request.args.to_dict(), "body": request.get_data(as_text=True),
            "for": request.headers.get("X-Forwarded-For"), "scheme": request.headers.get("X-Forwarded-Proto")}


@app.route("/stream")
def stream():
    return Response((f"line {i}\n" for i in range(1000)), mimetype="text/plain")


@app.route("/upload", methods=["POST"])
def upload():
    f = request.files["file"]
    return {"name": f.filename, "size": len(f.read())}


@app.route("/cookie")
def cookie():
    r = Response("ok")
    r.set_cookie("session", "abc", path="/app", httponly=True)
    return r
