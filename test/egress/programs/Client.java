import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Both of Java's own clients: Client URL... */
class Client {
  public static void main(String[] urls) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    for (String url : urls) {
      var answer = client.send(HttpRequest.newBuilder(URI.create(url)).build(), BodyHandlers.ofString());
      System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body());
      var old = (HttpURLConnection) URI.create(url).toURL().openConnection();
      try (InputStream body = old.getResponseCode() < 400 ? old.getInputStream() : old.getErrorStream()) {
        System.out.println("URLConnection " + old.getResponseCode() + " " + new String(body.readAllBytes()));
      }
    }
  }
}
